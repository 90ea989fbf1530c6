"""Rules of words, signs, numbers and forms of address."""

import re
from collections.abc import Callable

import regex

from lab.edits.rules.layout import BULLET, NUMBER
from lab.edits.rules.reading import Rule, count, lines, rather, sentences, sentences_without, share, without
from lab.everyday.words import BRITISH

_EMOJI = regex.compile(r"(?![\d#*©®™‼⁉↔-↪])\p{Extended_Pictographic}")


def has_emoji(text: str) -> float:
    """An emoji somewhere."""
    return float(_EMOJI.search(text) is not None)


def no_emoji(text: str) -> float:
    """No emoji."""
    return 1 - has_emoji(text)


_AMERICAN = BRITISH | dict(
    pair.split(":")
    for pair in (
        "humor:humour fiber:fibre dialog:dialogue program:programme programs:programmes license:licence "
        "licenses:licences practiced:practised defense:defence offense:offence check:cheque tire:tyre mold:mould "
        "jewelry:jewellery aluminum:aluminium labeled:labelled modeling:modelling math:maths skeptical:sceptical "
        "plow:plough organization:organisation prioritized:prioritised favorites:favourites"
    ).split()
)
"""Some only where no other word is meant: a check may be no cheque."""
_BRITISH = frozenset(_AMERICAN.values())


def british(text: str) -> float:
    """Of the words that are spelled in two ways, the share that is British; 1 without any."""
    found = re.findall(r"[a-z]+", text.lower())
    good = sum(word in _BRITISH for word in found)
    return share(good, good + sum(word in _AMERICAN for word in found), without=1.0)


_LIST = r"\w+, [\w'’ -]{1,40}?"


def oxford_comma(text: str) -> float:
    """Of lists of three and more, the share with a comma before the last item's ``and`` or ``or``."""
    with_it = count(rf"{_LIST}, (?:and|or) ", text)
    return share(with_it, with_it + count(rf"{_LIST}(?<!,) (?:and|or) ", text))


def lowercase(text: str) -> float:
    """The share of sentences that begin in lower case."""
    starts = [sentence.lstrip()[0] for sentence in sentences(text) if sentence.lstrip()[0].isalpha()]
    return share(sum(start.islower() for start in starts), len(starts))


def sentence_case(text: str) -> float:
    """The share of lines in which hardly a word but the first is capitalised."""
    titles = [NUMBER.sub("", BULLET.sub("", line)).strip("*\"'“”# ") for line in lines(text)]
    later = [[word for word in title.split()[1:] if word[:1].isalpha()] for title in titles]
    good = [words for words in later if words and sum(word[0].isupper() for word in words) <= len(words) / 3]
    return share(len(good), sum(bool(words) for words in later))


_TIME = r"\b(?:[01]?\d|2[0-4])[:.][0-5]\d\b"
_HALF_DAY = r"\b\d{1,2}(?:[:.]\d\d)?\s?[ap]\.?m\b|\bnoon\b|\bmidnight\b"


def time_24h(text: str) -> float:
    """Of the times of day, the share in the 24-hour clock."""
    halves = count(_HALF_DAY, text)
    whole = count(rf"{_TIME}(?!\s?[ap]\.?m)", text)
    return share(whole, whole + halves)


_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"


def iso_dates(text: str) -> float:
    """Of the dates, the share written as 2026-03-04."""
    good = count(r"\b\d{4}-\d\d-\d\d\b", text)
    spelled = rf"\b{_MONTH} \d{{1,2}}(?:st|nd|rd|th)?\b|\b\d{{1,2}}(?:st|nd|rd|th)? {_MONTH}(?!\w)"
    return share(good, good + count(spelled + r"|\b\d{1,2}[./]\d{1,2}[./]\d{2,4}\b", text))


def currency_after(text: str, currency: str) -> float:
    """Of the amounts of money, the share that ends in ``currency``."""
    good = count(rf"\d\s?{re.escape(currency)}\b", text, 0)
    return share(good, good + count(rf"[€$£]\s?\d|\d\s?(?:[€$£]|euros?\b)|\b{re.escape(currency)}\s?\d", text, re.I))


def single_quotes(text: str) -> float:
    """Of the quotations, the share in single quotation marks."""
    single = count(r"(?<!\w)['‘](?!\s)[^'‘’\n]+(?:['’]\w+[^'‘’\n]*)*['’](?!\w)", text)
    return share(single, single + count(r"[\"“„«][^\"“”„«»\n]+[\"”“»]", text))


def we_not_i(text: str) -> float:
    """Of we and I in all their forms, the share of we."""
    return rather(r"\b[Ww]e\b|\b[Oo]urs?\b|\bus\b", r"\bI\b|\b[Mm]y\b|\bme\b")(text)


def formal_german(text: str) -> float:
    """Of the words for the reader, the share of Sie in all its forms."""
    informal = r"\b(?:[Dd]u|[Dd]ir|[Dd]ich|[Dd]ein\w*|[Ee]uch|[Ee]uer\w*|eure\w*|ihr)\b"
    return rather(r"\b(?:Sie|Ihnen|Ihr(?:e[nmrs]?)?)\b", informal)(text)


def formal_french(text: str) -> float:
    """Of the words for the reader, the share of vous in all its forms."""
    return rather(r"\b(?:vous|votre|vos)\b", r"\b(?:tu|te|toi|ton|ta|tes)\b|\bt['’]", re.IGNORECASE)(text)


def inclusive_german(text: str) -> float:
    """A colon's form, and no group named in the masculine alone."""
    masculine = r"\b(?:Mitarbeiter|Kollegen|Kunden|Teilnehmer|Lehrer|Nutzer|Leser|Bürger|Schüler)n?\b(?![:*_/])"
    return float(bool(re.search(r"\w[:*_](?:innen|in)\b", text)) and not re.search(masculine, text))


_HEDGES = (
    r"\b(?:perhaps|maybe|might|possibly|could potentially|somewhat|it seems|seems to|it appears|generally speaking|"
    r"in general|arguably|tend to|may be|may want|i think|i believe|probably|if possible|when you have|kindly)\b"
)
_CONTRACTIONS = (
    r"\b(?:\w+n['’]t|(?:i|you|we|they|he|she|it|that|there|what|who)['’](?:ll|ve|re|m|d|s)|let['’]s|gonna|wanna)\b"
)
_EXCLAMATIONS = r"[!！]+(?![=\[])"

RULES: dict[str, Rule] = {
    **{
        rule.__name__: rule
        for rule in (
            has_emoji, no_emoji, british, oxford_comma, lowercase, sentence_case, time_24h, iso_dates, single_quotes,
            we_not_i, formal_german, formal_french, inclusive_german,
        )
    },
    "no_exclamation": sentences_without(_EXCLAMATIONS),
    "no_hedges": sentences_without(_HEDGES),
    "no_contractions": sentences_without(_CONTRACTIONS),
    "no_dashes": sentences_without(r"[—–]|\s--?\s"),
    "no_thanks": without(r"thank|grateful|appreciat|\bmerci|remerci|\bdank|gracias|grazie|ringrazi|感谢|谢谢"),
    "no_apology": without(r"apolog|\bsorry\b|regret|inconvenience|entschuldig|désolé|disculp|scusi|抱歉|对不起"),
    "no_bold": without(r"\*\*[^*\n]+\*\*|__[^_\n]+__|<(?:b|strong)>"),
    "no_hashtags": without(r"(?<![\w&])#\w"),
}  # fmt: skip
WITH_TEXT: dict[str, Callable[[str, str], float]] = {"currency_after": currency_after}
