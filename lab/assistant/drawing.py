"""A request with wishes and the text that meets them: what is trained, and what is measured."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from lab.assistant.content import Answered, Task, task
from lab.assistant.render import render
from lab.assistant.style import WISHES, Style, Wish, say, with_wishes
from lab.assistant.wording import plain

_OF_CODE = ("code", "hints", "docstring", "comments", "top", "bottom")


@dataclass(frozen=True)
class Drawn:
    """A request as it was typed, the style that its text has without wishes, and the wishes."""

    task: Task
    request: str
    own: Style
    wishes: tuple[Wish, ...] = field(default=())

    @property
    def text(self) -> str:
        """The text that meets the wishes."""
        return render(self.task, with_wishes(self.own, list(self.wishes)))

    @property
    def draft(self) -> str:
        """The text without wishes."""
        return render(self.task, self.own)


def draw(rng: random.Random, wishes: int = 0, *, kind: str | None = None, held_out: bool = False) -> Drawn:
    """A request and so many wishes that show in its text, each of another slot; fewer where it bears no more."""
    drawn = asked(rng, kind)
    return replace(drawn, wishes=tuple(borne(drawn, rng, wishes, held_out=held_out)))


def asked(rng: random.Random, kind: str | None = None, answered: Answered = ()) -> Drawn:
    """A request without wishes. Amounts and spelling are copied from it where nothing is wished for."""
    what = task(rng, kind, answered)
    given = Style(
        time=rng.choice(("12", "24")),
        date=rng.choice(("month", "day")),
        money=rng.choice(("€", "euros", "EUR", "$")),
        numbers=rng.choice(("digits", "digits", "words")),
        spelling=rng.choice(("american", "british")),
    )
    spoken = replace(given, contractions=rng.choice(("yes", "no")))
    request = plain(what.request, spoken)
    return Drawn(what, request.rstrip(".") if rng.random() < 0.1 else request, given)


def borne(drawn: Drawn, rng: random.Random, number: int, *, held_out: bool = False) -> list[Wish]:
    """``number`` wishes of which each changes the text, beside the others, too."""
    found: list[Wish] = []
    kinds = [kind for kind in WISHES if not kind.new]
    # Few texts bear some of them, and those that any text bears would crowd them out.
    kinds.sort(key=lambda kind: rng.random() ** (1 / kind.often), reverse=True)
    several = len(drawn.task.facts) + len(drawn.task.steps) > 1
    for kind in kinds:
        if len(found) == number:
            break
        wish = say(kind, drawn.task, rng, held_out=held_out)
        if any(wish.slot == other.slot or _apart(wish, other) for other in found):
            continue
        if kind.slot in ("layout", "sign") and not several:
            continue
        if drawn.task.kind == "code" and kind.slot not in _OF_CODE:
            continue
        if shows(drawn, [*found, wish]):
            found.append(wish)
    rng.shuffle(found)
    return found


def shows(drawn: Drawn, wishes: Sequence[Wish]) -> bool:
    """Whether without any one of ``wishes`` the text would be another."""
    whole = render(drawn.task, with_wishes(drawn.own, list(wishes)))
    if drawn.own.money == "$" and any(wish.slot == "money" for wish in wishes):
        return False  # it would be another currency
    return all(
        render(drawn.task, with_wishes(drawn.own, [other for other in wishes if other is not wish])) != whole
        for wish in wishes
    )


def _apart(one: Wish, other: Wish) -> bool:
    """Whether one of them leaves no room for the other."""
    pair = {one.slot, other.slot}
    if "length" in pair and pair & {"thanks", "bottom"} and "at_most" in (one.id, other.id):
        return True  # a line more may be a sentence more
    return pair in ({"length", "layout"}, {"sign", "layout"}, {"length", "sign"}, {"spelling", "case"}) or (
        "case" in pair and bool(pair & {"greeting", "signoff", "top", "bottom"})
    )
