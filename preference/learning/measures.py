"""What an edit changed that can be counted, and the common wish that each such change shows.

Small models name few wishes, and none for emojis, spelling or units; counts do. The wishes that regular expressions can
count stand in common_wishes.toml, what needs more than that in `prose_measures.py`, `code_measures.py` and the modules
of shapes, and the texts that users read in common_wishes_texts.toml.
"""

from collections.abc import Callable, Iterator

from preference.distance import words
from preference.learning import number_shapes, shapes
from preference.learning.code_measures import program
from preference.learning.common_wishes import Observation, wishes
from preference.learning.difference import changed, is_code
from preference.learning.prose_measures import first, messages, one_cut, opening, own_lines, short, spelling

REWRITTEN = 0.6
"""A draft is written anew where at least this share of its words is gone."""
CHANCE = 2
"""Fewer of a kind than this may be gone from such a draft by chance."""


def observations(draft: str, edited: str, language: str) -> list[Observation]:
    """The common wishes that turn ``draft`` into ``edited``, each of them once."""
    where = "code" if is_code(edited) or is_code(draft) else "prose"
    counted = (wish.shown(draft, edited, language) for wish in wishes() if wish.where in ("", where))
    found = [one for one in counted if one is not None]
    for measure in _CODE if where == "code" else _PROSE:
        found += measure(draft, edited)
    for shape in _CODE_SHAPES if where == "code" else _PROSE_SHAPES:
        found += [Observation(*shown) for shown in shape(draft, edited)]
    if where == "prose" and _rewritten(draft, edited):
        found = [one for one in found if not _by_chance(one)]
    if where == "prose" and one_cut(draft, edited):
        found = [one for one in found if one.wish not in _MARKS]
    return _coherent({one.wish: one for one in found})


def _rewritten(draft: str, edited: str) -> bool:
    """Whether hardly a sentence of the draft is left."""
    out, _ = changed(draft, edited)
    return out >= REWRITTEN * len(words(draft))


def _by_chance(one: Observation) -> bool:
    """In a text written anew, a thing or two of a kind are gone by chance; what came was put there."""
    return one.before > one.after == 0 and one.before < CHANCE and one.wish in _RARE


def _coherent(found: dict[str, Observation]) -> list[Observation]:
    """Without what another wish already says."""
    for wish, others in _SAID_BY.items():
        if any(other in found for other in others):
            found.pop(wish, None)
    return list(found.values())


_MARKS = frozenset(
    "no-exclamation no-dashes no-placeholders no-ampersand no-latin no-capitals no-bold no-hashtags no-ellipsis "
    "no-and-or no-italics no-code-marks no-parentheses no-semicolons no-contrast".split()
)
"""They may be gone with the one sentence that had them."""
_RARE = _MARKS | frozenset("no-apology no-filler no-introduction no-question-at-end no-rules".split())
_SAID_BY = {
    "no-bullets": ("numbered", "table"),
    "no-numbered": ("bullets", "table"),
    "headings": ("subject-and-body",),
    "summary-first": ("answer-first",),
    "main-point-first": ("summary-first", "answer-first", "numbers-first"),
    "own-lines": ("bullets", "numbered", "table", "headings"),
    "no-greeting": ("greeting",),
    "no-sign-off": ("sign-off",),
    "contractions": ("informal",),
    "greeting": ("formal", "informal", "formal-address", "informal-address"),
    "no-apology": ("no-filler", "informal"),
    "no-placeholders": ("sign-off", "no-sign-off"),
    "no-capitals": ("plain", "no-exclamation", "no-emoji"),
    "no-headings": ("headings",),
    "no-dashes": ("bullets", "short"),
    "first-person-plural": ("first-person-singular",),
    "formal": ("informal",),
    "informal-address": ("formal-address",),
    "lower-case": ("sql-upper",),
    "no-thanks": ("no-filler",),
    "active-voice": ("short", "bullets", "numbered", "table"),
    "iso-dates": ("table",),
    "const": ("arrow-functions",),
    "title": ("subject-and-body", "headings"),
    "commands": ("numbered",),
    "no-connectives": ("short", "plain", "no-filler", "no-officialese", "bullets", "numbered"),
    "no-intensifiers": ("short", "plain", "no-filler", "no-officialese", "formal", "informal", "bullets", "numbered"),
    "no-officialese": ("plain",),
    "no-contrast": ("short", "plain", "bullets", "numbered"),
    "no-call-to-action": ("plain",),
    "no-introduction": ("no-praise",),
    "address-reader": ("formal-address", "informal-address", "formal", "informal", "commands", "numbered"),
    "time-minutes": ("24-hour", "12-hour"),
    "time-with-colon": ("24-hour",),
    "numeric-dates": ("iso-dates",),
    "month-words": ("iso-dates",),
    "no-date-endings": ("iso-dates", "numeric-dates"),
    "currency-before": ("currency-code", "currency-word"),
    "currency-after": ("currency-code", "currency-word"),
    "short-sentences": ("bullets", "numbered"),
    "paragraphs": ("headings", "summary-first", "own-lines", "title"),
    "no-fence": ("only-code",),
    "return-values": ("logging",),
    "no-var": ("const",),
    "error-handling": ("specific-exceptions", "raise-errors"),
}


_PROSE: tuple[Callable[[str, str], Iterator[Observation]], ...] = (
    short, opening, spelling, first, own_lines, messages,
)  # fmt: skip
_CODE: tuple[Callable[[str, str], Iterator[Observation]], ...] = (program,)
_PROSE_SHAPES = (
    shapes.headings, shapes.titles, number_shapes.numbers, shapes.closing, shapes.rhythm, shapes.order, shapes.people,
    shapes.sharp_s, shapes.remarks, shapes.indentation,
)  # fmt: skip
_CODE_SHAPES = (shapes.identifiers, shapes.indentation, shapes.remarks)
