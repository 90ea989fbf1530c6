"""The parts of a letter-like text: its greeting, its sign-off, its sentences."""

from dataclasses import dataclass

import regex

_GREETING = regex.compile(
    r"(?i)^(?:hi|hello|hey|hiya|dear|good (?:morning|afternoon|evening|day)|greetings|to whom|yo|morning|"
    r"hallo|hi|hey|liebe[rs]?|sehr geehrte|guten (?:tag|morgen|abend)|moin|servus|werte|grüezi|"
    r"bonjour|bonsoir|salut|coucou|ch(?:er|ère)s?|madame|monsieur|"
    r"hola|buen[oa]s|estimad[oa]s?|querid[oa]s?|apreciad[oa]s?|muy señor|"
    r"ciao|salve|buongiorno|buonasera|gentil[ei]|egregi[oa]|car[oaie]|spettabile|"
    r"olá|oi|bom dia|boa (?:tarde|noite)|prezad[oa]s?)\b|^(?:尊敬的|亲爱的|您好|你好|大家好)|"
    r"^[^\n。，,.]{1,12}(?:您好|你好)|^\p{Han}{1,6}[：:]$"
)
_CLOSING = regex.compile(
    r"(?i)^(?:(?:kind|best|warm|many|with)\W+(?:\w+ )?(?:regards|wishes|thanks)|"
    r"regards|best|cheers|thanks|thank you|many thanks|"
    r"sincerely|yours|love|take care|see you|talk soon|all the best|warmly|xx?|"
    r"mit freundlichen|(?:viele|liebe|beste|herzliche|freundliche|schöne) (?:grüße?|grüsse)|"
    r"gruß|lg|vg|mfg|bis (?:bald|dann|später)|"
    r"cordialement|bien (?:cordialement|à vous)|bises|bisous|amicalement|à (?:bientôt|plus)|salutations|avec |"
    r"un (?:saludo|abrazo)|saludos|atentamente|cordialmente|besos|"
    r"(?:cordiali|distinti|cari) saluti|saluti|a presto|un (?:caro|abbraccio)|"
    r"atenciosamente|abraços?|beijos|até)\b|^(?:此致|敬礼|祝好|谢谢)"
)
_ABBREVIATED = regex.compile(r"(?i)\b(mr|mrs|ms|dr|prof)\.(?=\s)")
"""Titles whose full stop ends no greeting."""
_SENTENCE = regex.compile(r"(?<=[.!?。！？…])[\"”»’)]*\s+|(?<=[。！？])|\n+")


@dataclass(frozen=True)
class Letter:
    """What opens and what closes a text: both may be empty. ``body`` is the rest."""

    greeting: str
    body: str
    sign_off: str


def letter(text: str) -> Letter:
    """The parts of ``text``."""
    lines = [line.strip() for line in text.strip().splitlines()]
    greeting, start = _greeting(lines)
    end = _sign_off_start(lines, start)
    sign_off = "\n".join(line for line in lines[end:] if line)
    return Letter(greeting, "\n".join(lines[start:end]), sign_off)


def sentences(text: str) -> list[str]:
    """The sentences and lines of ``text`` that have a letter or a digit."""
    return [s.strip() for s in _SENTENCE.split(text) if s and regex.search(r"[\p{L}\p{N}]", s)]


def _greeting(lines: list[str]) -> tuple[str, int]:
    """The greeting's words and the first line after it."""
    if not lines or not _GREETING.match(lines[0]):
        return "", 0
    first = _ABBREVIATED.sub(r"\1", lines[0])
    if regex.search(r"\p{Han}", first) and len(first) > 12:
        opened = regex.match(r"^[^，：！,:!。]{1,10}(?=[，：！,:!])", first)
        return (opened[0], 0) if opened else ("", 0)
    stands_alone = (
        first.endswith((",", "!", ":", "，", "：", "！"))
        or (len(lines) > 1 and not lines[1])
        or len(first.split()) <= 3
    )
    if stands_alone and len(first) <= 45 and not regex.search(r"[.。]\s*\S", first):
        return first.rstrip(" ,!:，：！"), 1
    opened = regex.match(r"^([^,.!:，。！：]{1,40})[,.!:，。！：]", first)
    return (opened[1], 0) if opened else ("", 0)


def _sign_off_start(lines: list[str], start: int) -> int:
    """The line where the sign-off begins: short lines at the end, which a closing phrase or a blank line sets apart."""
    end = len(lines)
    for at in range(end - 1, max(start, end - 5) - 1, -1):
        line = lines[at]
        if not line:
            continue
        if _CLOSING.match(line) and len(line) <= 45:
            return at
        if len(line) > 40 or regex.search(r"[.?。？:：;]$|^[-*•#|\d]", line):
            break
    if end - start >= 3 and _is_name(lines[end - 1]):
        if not lines[end - 2]:
            return end - 1
        # Whatever somebody closes with: a few words and a comma between a blank line and the name.
        if not lines[end - 3] and regex.fullmatch(r"\p{L}[^\d.:;]{0,38}[,，]", lines[end - 2]):
            return end - 2
    return end


def _is_name(line: str) -> bool:
    parts = line.lstrip("-–— ").split()
    if regex.fullmatch(r"\p{Han}{2,4}", line):
        return True
    return (
        1 <= len(parts) <= 4
        and all(regex.match(r"\p{Lu}|von|van|de|der|&|und|and", p) for p in parts)
        and not regex.search(r"[.!?,:;]$", line)
        and len(line) <= 40
    )
