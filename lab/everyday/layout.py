"""The parts of an everyday text as its user sees them: greeting, body, sign-off; sentences and lines."""

from dataclasses import dataclass, replace

import regex

GREETING = regex.compile(
    r"(?i)^(?:hi|hello|hey|dear|greetings|good (?:morning|afternoon|evening|day))\b[^\n.!?:]{0,40}"
)
_CLOSING = regex.compile(
    r"(?i)^(?:(?:kind|best|warm|many|with)\b.{0,24}|regards|cheers|thanks(?: again)?|thank you|sincerely|yours.{0,16}|"
    r"love|warmly|take care|all the best)[,.!]?$"
)
_NAME = regex.compile(r"^(?:\[[^\]\n]{1,40}\]|\p{Lu}[\p{L}.'’-]*(?: \p{Lu}[\p{L}.'’-]*){0,3})[,.]?$")
_TAGS = regex.compile(r"^\s*(?:#\w+\s*)+$")
_SENTENCE = regex.compile(r"(?<=[.!?…])[\"”’)]*[ \t]+(?=\S)")
_LAST_LINES = 5


@dataclass(frozen=True)
class Parts:
    """A text in its parts, each of which may be empty: ``title`` and ``tags`` are lines above and below all else."""

    greeting: str
    body: str
    sign_off: str
    title: str = ""
    tags: str = ""

    @property
    def text(self) -> str:
        """All of it, a blank line between greeting, body and sign-off."""
        middle = "\n\n".join(part for part in (self.greeting, self.body, self.sign_off) if part)
        return "\n".join(part for part in (self.title, middle, self.tags) if part)

    def with_body(self, body: str) -> "Parts":
        """The same around another body."""
        return replace(self, body=body)


def parts(text: str) -> Parts:
    """The parts of ``text``."""
    lines = text.strip().split("\n")
    title = lines.pop(0).strip() if is_title(lines[0]) else ""
    tags = ""
    while lines and _TAGS.match(lines[-1]):
        tags = f"{lines.pop().strip()}\n{tags}".strip()
    while lines and not lines[0].strip():
        lines.pop(0)
    if not lines:
        return Parts("", "", "", title, tags)
    greeting = ""
    if (match := GREETING.match(lines[0])) and len(lines[0].split()) <= 6:
        greeting, lines = lines[0].strip(), lines[1:]
    elif match and (comma := lines[0].find(",")) in range(1, 40):
        greeting, lines[0] = lines[0][: comma + 1], lines[0][comma + 1 :].strip()
    end = len(lines)
    for at in range(len(lines) - 1, max(-1, len(lines) - 1 - _LAST_LINES), -1):
        if _CLOSING.match(lines[at].strip()):
            end = at
            break
        if lines[at].strip() and not _NAME.match(lines[at].strip()):
            break
    sign_off = "\n".join(line.strip() for line in lines[end:] if line.strip())
    return Parts(greeting, "\n".join(lines[:end]).strip(), sign_off, title, tags)


def is_title(line: str) -> bool:
    """Whether a first line is a title in capitals."""
    return line.isupper() and len(line.split()) <= 8 and not is_item(line)


def sentences(line: str) -> list[str]:
    """The sentences of a line."""
    return [part for part in _SENTENCE.split(line.strip()) if part]


def units(body: str) -> list[str]:
    """The sentences of a text; an item of a list is one."""
    return [
        part for line in body.split("\n") if line.strip() for part in ([line] if is_item(line) else sentences(line))
    ]


def is_item(line: str) -> bool:
    """Whether a line is an item of a list."""
    return bool(regex.match(r"\s*(?:[-*•]|\d{1,2}[.)])\s+\S", line))


def capitalised(text: str) -> str:
    """``text`` with a first capital letter."""
    return text[:1].upper() + text[1:]
