"""What an edit writes another way, where counting an expression does not tell: titles, sentences, names, indentation.

Each function compares a draft with its edit and yields the wishes that this shows, with the counts before and after.
"""

from collections import Counter
from collections.abc import Iterator
from math import gcd

import regex

from preference.distance import words
from preference.learning.layout import letter, sentences

Shown = tuple[str, int, int]
"""A wish's id, what was counted in the draft and in the edit."""

MANY = 20
"""At most so many names or numbers of an edit are looked for in its draft."""
_ITEM = regex.compile(r"^[ \t]*+(?:[-*•–·]|\d{1,2}[.)])[ \t]+(?=\S)")
_MARKED = regex.compile(r"^(?:#{1,6}[ \t]+\S.*|\*\*[^*\n]{2,60}\*\*[:：]?)$")
_SHORT = regex.compile(r"^[^\W_][^\n.!?。！？,，;|]{1,40}(?<![:：、])$|^[^\W_]\S{1,20}(?: \S{1,20})?[:：]$")
_FENCE = regex.compile(r"(?m)^[ \t]*+(?:```|~~~)[^\n]*$")
_LAST_QUESTION = regex.compile(r"([^.!?。！？\n]{3,300})[?？][\"”»)]*+\s*+(?:[^\n?？]{1,40}(?:\n++|\Z)){0,3}\Z")
_ARTICLES = frozenset(
    "the a an this that our der die das den dem des ein eine einen einem einer am im vom zum zur beim le la les un une "
    "du des au el los las una al del il lo i gli dei della alla o os as um uma no na do da".split()
)


def headings(draft: str, edited: str) -> Iterator[Shown]:
    """Headings that divide a text, one title above it, or headings that are gone."""
    if draft.startswith("#!") or edited.startswith("#!"):  # a script: its comments are no headings
        return
    marks, new_marks = (len(regex.findall(r"(?m)^#{1,6}[ \t]+\S", text)) for text in (draft, edited))
    if marks and not new_marks:
        yield "no-headings", marks, 0
    (title, sure, plain), (had_title, were_sure, were_plain) = _headed(edited), _headed(draft)
    if were_sure or were_plain or had_title:
        return
    if sure or plain >= 2:
        yield "headings", 0, sure + plain
    elif title:
        yield "title", 0, 1


def _headed(text: str) -> tuple[bool, int, int]:
    """Whether a title stands first and alone; how many headings are surely such, and how many may be."""
    lines = letter(text).body.strip().split("\n")
    first, sure, plain = False, 0, 0
    for at, line in enumerate(lines[:-1]):
        if at and lines[at - 1] and not _MARKED.match(line):
            continue
        below = lines[at + 1]
        if _MARKED.match(line) or (_SHORT.match(line) and _ITEM.match(below)):
            sure += 1
        elif _SHORT.match(line) and not _ITEM.match(line) and not below and "".join(lines[at + 2 : at + 3]):
            plain += at > 0
        else:
            continue
        first = first or at == 0
    alone = (
        first and plain == 0 and (sure == 0 or (sure == 1 and bool(_MARKED.match(lines[0]) or _SHORT.match(lines[0]))))
    )
    return (True, 0, 0) if alone and not (sure and _ITEM.match(lines[1])) else (False, sure, plain)


def titles(draft: str, edited: str) -> Iterator[Shown]:
    """Titles With Capitals that became titles like sentences, or the reverse."""
    before, after = _titles(draft), _titles(edited)
    for wish, old, new in (
        ("sentence-case", _capitalised, _like_a_sentence),
        ("title-case", _like_a_sentence, _capitalised),
    ):
        were = [title for title in before if old(title)]
        now = [title for title in after if new(title)]
        if were and now and not any(old(title) for title in after) and not any(new(title) for title in before):
            same = {" ".join(title).casefold() for title in were} & {" ".join(title).casefold() for title in now}
            if same or (len(before) == _lines(draft) > 1 and len(after) == _lines(edited) > 1):
                yield wish, len(were), 0


def _lines(text: str) -> int:
    return sum(bool(line.strip()) for line in text.splitlines())


def _titles(text: str) -> list[list[str]]:
    """The words of each line that may be a title."""
    found = []
    for line in text.splitlines():
        line = regex.sub(r"^[#>*\s]+|[*\s]+$|^\d{1,2}[.)]\s+", "", _ITEM.sub("", line)).strip('"“”„«»')
        parts = regex.findall(r"[\p{L}\p{M}\p{N}'’-]+", line)
        if 3 <= len(parts) <= 14 and line[:1].isalnum() and not regex.search(r"[.!?,;:]$|[.!?;] ", line):
            found.append(parts)
    return found


def _capitalised(title: list[str]) -> bool:
    long = [word for word in title[1:] if len(word) > 3]
    return len(long) >= 2 and all(word[0].isupper() and not word.isupper() for word in long)


def _like_a_sentence(title: list[str]) -> bool:
    long = [word for word in title[1:] if len(word) > 3]
    return title[0][0].isupper() and len(long) >= 2 and sum(word[0].isupper() for word in long) <= len(long) / 3


def closing(draft: str, edited: str) -> Iterator[Shown]:
    """The question that a text ended with is gone: a short line or two may follow it."""
    question, new_question = (_LAST_QUESTION.search(text.rstrip()[-600:]) for text in (draft, edited))
    if question and question[1].strip() not in edited and not new_question:
        yield "no-question-at-end", 1, 0


def rhythm(draft: str, edited: str) -> Iterator[Shown]:
    """How many paragraphs a text has, and how long its sentences are; not of lists."""
    was, now = letter(draft).body, letter(edited).body
    if any(_ITEM.match(line) or "|" in line for line in f"{was}\n{now}".split("\n")):
        return
    size, new_size = len(words(was)), len(words(now))
    if not 0.5 * size <= new_size <= 1.5 * size:
        return
    before, after = _paragraphs(was), _paragraphs(now)
    if len(before) == 1 and size >= 70 and len(after) >= 2 and all(len(words(one)) >= 8 for one in after):
        yield "paragraphs", 1, len(after)
    elif len(before) >= 3 and len(after) == 1 and all(len(words(one)) >= 8 for one in before):
        yield "one-paragraph", len(before), 1
    many, new_many = len(sentences(was)), len(sentences(now))
    if not many or not new_many:
        return
    mean, new_mean = size / many, new_size / new_many
    scale = 1.6 if regex.search(r"[\p{Han}\p{Hiragana}]", was) else 1.0
    if mean >= 22 * scale and new_mean <= 13 * scale and new_many >= 3:
        yield "short-sentences", round(mean), round(new_mean)
    elif mean <= 9 * scale and many >= 5 and new_mean >= 16 * scale:
        yield "flowing-sentences", round(mean), round(new_mean)


def _paragraphs(text: str) -> list[str]:
    return [part for part in regex.split(r"\n[ \t]*+\n", text.strip()) if part.strip()]


def order(draft: str, edited: str) -> Iterator[Shown]:
    """The same lines, now in the order of the alphabet."""
    before, after = (
        [_ITEM.sub("", line).strip() for line in text.splitlines() if _ITEM.match(line)] for text in (draft, edited)
    )
    if len(before) >= 3 and sorted(before) == sorted(after):
        keys, new_keys = ([item.casefold() for item in items] for items in (before, after))
        if new_keys == sorted(new_keys) != keys:
            yield "alphabetical", len(before), len(after)


def people(draft: str, edited: str) -> Iterator[Shown]:
    """First names in full or as initials; tasks that begin with who does them."""
    initials, were_initials = _initials(edited), _initials(draft)
    full, were_full = _full_names(edited), _full_names(draft)
    if same := (were_initials - initials) & (full - were_full):
        yield "full-names", len(same), 0
    if same := (were_full - full) & (initials - were_initials):
        yield "initials", len(same), 0
    owners = {name for name in sorted(_owners(edited))[:MANY] if _person(name, draft)}
    if len(owners) >= 2 and not _owners(draft):
        yield "task-owners", 0, len(owners)


def _initials(text: str) -> set[tuple[str, str]]:
    return set(regex.findall(r"\b(\p{Lu})\. ?(\p{Lu}\p{Ll}{2,30})", text))


def _full_names(text: str) -> set[tuple[str, str]]:
    return set(regex.findall(r"\b(\p{Lu})\p{Ll}{1,30} (\p{Lu}\p{Ll}{2,30})", text, overlapped=True))


def _owners(text: str) -> set[str]:
    lines = (line for line in text.splitlines() if _ITEM.match(line))
    found = (
        regex.match(r"\**(\p{Lu}\p{Ll}{1,20}(?: \p{Lu}\p{Ll}{1,20})?)\**[:：]\**\s+\S", _ITEM.sub("", line))
        for line in lines
    )
    return {match[1] for match in found if match}


def _person(name: str, text: str) -> bool:
    """Whether ``text`` has ``name`` as one that does something: no article before it, no colon after it."""
    for match in regex.finditer(rf"(\p{{L}}+)?[^\p{{L}}]*\b{regex.escape(name)}\b(?=['’ ]\p{{Ll}})", text):
        if (match[1] or "").casefold() not in _ARTICLES:
            return True
    return False


def sharp_s(draft: str, edited: str) -> Iterator[Shown]:
    """German with ss for ß, as in Switzerland, or with ß again."""
    before, after = (set(regex.findall(r"\p{L}+", text)) for text in (draft, edited))
    swiss = {word for word in before - after if "ß" in word and word.replace("ß", "ss") in after}
    german = {word for word in after - before if "ß" in word and word.replace("ß", "ss") in before}
    if swiss and "ß" not in edited:
        yield "swiss-spelling", len(swiss), 0
    elif len(german) >= 2:
        yield "sharp-s", len(german), 0


def remarks(draft: str, edited: str) -> Iterator[Shown]:
    """Code or data alone, without what was said around it."""
    said, code = _around(draft)
    if not code or sum(len(line.split()) for line in said) < 4:
        return
    still, new_code = _around(edited)
    lines = {_bare(line) for line in code}
    kept = new_code or still
    rest = still if new_code else [line for line in still if line in said]
    if not rest and kept and sum(_bare(line) in lines for line in kept) >= 0.5 * len(kept):
        yield "only-code", len(said), 0


def _around(text: str) -> tuple[list[str], list[str]]:
    """The lines outside of fences, and those inside."""
    parts = [[line.strip() for line in part.splitlines() if line.strip()] for part in _FENCE.split(text)]
    return [line for part in parts[::2] for line in part], [line for part in parts[1::2] for line in part]


def _bare(line: str) -> str:
    return str(regex.sub(r"[^\p{L}\p{N}]+", " ", line)).strip().casefold()


def identifiers(draft: str, edited: str) -> Iterator[Shown]:
    """Names of a program in snake_case or in camelCase."""
    before, after = (set(regex.findall(r"(?<![\w.])[a-z]\w*", text)) for text in (draft, edited))
    camel, new_camel = (
        {word for word in found if regex.fullmatch(r"[a-z]+(?:[A-Z][a-z0-9]*)+", word)} for found in (before, after)
    )
    snake, new_snake = (
        {word for word in found if regex.fullmatch(r"[a-z]+(?:_[a-z0-9]+)+", word)} for found in (before, after)
    )
    to_snake = {word for word in camel - new_camel if _snake(word) in new_snake - snake}
    to_camel = {word for word in new_camel - camel if _snake(word) in snake - new_snake}
    if len(to_snake) >= 2 or (to_snake and not new_camel):
        yield "snake-case", len(to_snake), 0
    elif len(to_camel) >= 2 or (to_camel and not new_snake):
        yield "camel-case", len(to_camel), 0


def _snake(word: str) -> str:
    return str(regex.sub(r"(?=[A-Z])", "_", word)).lower()


def indentation(draft: str, edited: str) -> Iterator[Shown]:
    """The same lines, indented by another step."""
    lines, new_lines = ([line for line in text.splitlines() if line.strip()] for text in (draft, edited))
    shared = Counter(map(str.strip, lines)) & Counter(map(str.strip, new_lines))
    if shared.total() < 0.6 * max(len(lines), len(new_lines)):
        return
    was, now = _step(lines), _step(new_lines)
    if was and now and was != now and now in _STEPS:
        yield _STEPS[now], 1, 0


_STEPS = {"2": "two-space-indents", "4": "four-space-indents", "\t": "tab-indents"}


def _step(lines: list[str]) -> str:
    """By what a program is indented: a tab, or so many spaces; empty where fewer than two lines are."""
    indents = [indent for line in lines if (indent := line[: len(line) - len(line.lstrip())])]
    if len(indents) < 2:
        return ""
    if all("\t" in indent for indent in indents):
        return "\t"
    return str(gcd(*map(len, indents))) if not any("\t" in indent for indent in indents) else ""
