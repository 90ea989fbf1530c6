"""What differs between a draft and what the user made of it: words of prose, whole lines of code, as they are written.

Nothing of either text is replaced. Where they are compared, a line's end is one whatever its characters are.
"""

from dataclasses import dataclass

import regex
from rapidfuzz.distance import Opcodes
from rapidfuzz.distance.Indel import opcodes

from preference.distance import words

NEAR = 2
"""Hunks with at most so many equal words between them are one."""
_PIECE = regex.compile(r"\n|[^\S\n]+|[\p{L}\p{M}\p{N}_'’-]+|[^\s\p{L}\p{M}\p{N}_]")
_CODE_LINE = regex.compile(
    r"^\s*(?:def |class |import |from \w+ import|function |const |let |var |func |package |#include|#!/|"
    r"SELECT |select |INSERT |UPDATE |CREATE |"
    r"return\b|if \(|for \(|while |try|@\w+|public |private |fn |use |echo |export |async )|"
    r"[;{}]\s*$|^\s*[\w.]+ = .*\S|\)\s*:\s*$|=>"
)
_FENCE = regex.compile(r"^[ \t]*(?:```|~~~)[^\n]*$", regex.MULTILINE)


@dataclass(frozen=True)
class Hunk:
    """A stretch that differs: what stood in the draft, what stands in the edit; either may be empty."""

    before: str
    after: str


def is_code(text: str) -> bool:
    """Whether ``text`` is code in the main: fenced, or with lines like a program's."""
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        return False
    fenced = _FENCE.split(text)[1::2]
    if fenced:
        return 2 * sum(map(len, fenced)) > len(text)
    return sum(bool(_CODE_LINE.search(line)) for line in lines) >= 0.4 * len(lines)


def hunks(draft: str, edited: str, *, code: bool) -> list[Hunk]:
    """The stretches that differ, in their order; of code by lines with their white space, else by words."""
    before, after = _pieces(draft, code), _pieces(edited, code)
    ranges = _joined(opcodes(before, after), 0 if code else NEAR)
    return [Hunk("".join(before[a:b]), "".join(after[c:d])) for a, b, c, d in ranges]


def changed(draft: str, edited: str) -> tuple[int, int]:
    """How many word tokens were taken out, and how many put in."""
    steps = opcodes(words(draft), words(edited))
    out = sum(o.src_end - o.src_start for o in steps if o.tag in ("delete", "replace"))
    into = sum(o.dest_end - o.dest_start for o in steps if o.tag in ("insert", "replace"))
    return out, into


def _pieces(text: str, code: bool) -> list[str]:
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text.splitlines(keepends=True) if code else _PIECE.findall(text)


def _joined(steps: Opcodes, near: int) -> list[tuple[int, int, int, int]]:
    """Ranges of draft and edit that differ, those joined that have at most ``near`` words between them."""
    found: list[tuple[int, int, int, int]] = []
    for step in steps:
        if step.tag == "equal":
            continue
        new = (step.src_start, step.src_end, step.dest_start, step.dest_end)
        if found and new[0] - found[-1][1] <= 2 * near:  # a word and its space are two pieces
            new = (found[-1][0], new[1], found[-1][2], new[3])
            found[-1] = new
        else:
            found.append(new)
    return found
