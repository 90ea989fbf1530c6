"""Facts of the synthetic world, and the requests that carry them: an email from notes, a summary of a report."""

import random
import zlib
from dataclasses import dataclass

from lab.lexicon import DAYS, HOURS, KIND_BY_NAME, KINDS, NAMES, PREDICATES, VERBS, Kind

HELD_OUT_SHARE = 10
"""One in so many (noun, predicate) and (verb, object) combinations is kept out of training."""


@dataclass(frozen=True)
class Facts:
    """What one text has to say. ``name`` is the recipient of an email or the source of a report."""

    kind: str
    name: str
    topic: str
    what: str
    when: str
    where: str
    action: str

    @property
    def task(self) -> str:
        """``email`` or ``summary``."""
        return KIND_BY_NAME[self.kind].task


@dataclass(frozen=True)
class Request:
    """One thing a user asks for: the message they send and the facts behind it."""

    facts: Facts
    text: str


def random_facts(kind: Kind, rng: random.Random, held_out: bool = False) -> Facts:
    """Facts of a kind. ``held_out`` ones use only word combinations that training never saw, others never do."""
    return Facts(
        kind=kind.name,
        name=rng.choice(NAMES),
        topic=rng.choice(kind.topics),
        what="the {} {}".format(*_pair(kind.nouns, PREDICATES, rng, held_out)),
        when=f"{rng.choice(DAYS)} at {rng.choice(HOURS)}",
        where=rng.choice(kind.places),
        action="{} {}".format(*_pair(VERBS, kind.objects, rng, held_out)),
    )


def random_request(rng: random.Random, kind: Kind | None = None, held_out: bool = False) -> Request:
    """A request of a kind (any by default) in one of its task's wordings."""
    facts = random_facts(kind or rng.choice(KINDS), rng, held_out)
    return Request(facts, request_text(facts, rng))


def request_text(facts: Facts, rng: random.Random) -> str:
    """What the user sends for these facts."""
    return _email_request(facts, rng) if facts.task == "email" else _summary_request(facts, rng)


def _email_request(facts: Facts, rng: random.Random) -> str:
    opening = rng.choice(
        (
            "Write an email to {name}, my {kind}.",
            "Please write to my {kind} {name}.",
            "Draft an email to my {kind} {name}.",
            "I need an email for {name}, my {kind}.",
        )
    ).format(name=facts.name, kind=facts.kind)
    notes = (
        f"about: {facts.topic}\nwhat: {facts.what}\nwhen: {facts.when}\nwhere: {facts.where}\nrequest: {facts.action}"
    )
    return f"{opening}\nNotes:\n{notes}"


_DOCUMENT = {
    "news": "news article", "review": "review", "study": "study", "minutes": "meeting minutes",
    "incident": "incident report", "travel": "travel report",
}  # fmt: skip


def _summary_request(facts: Facts, rng: random.Random) -> str:
    opening = rng.choice(("Summarise this {}.", "Write a summary of this {}.", "Sum up this {}.")).format(
        _DOCUMENT[facts.kind]
    )
    what = facts.what[0].upper() + facts.what[1:]
    sentences = [
        f"{facts.name} wrote about {facts.topic}.",
        f"{what}.",
        f"It was on {facts.when}.",
        f"It was at {facts.where}.",
        f"{facts.name} asks us to {facts.action}.",
    ]
    for filler in rng.sample(KIND_BY_NAME[facts.kind].fillers, rng.randint(0, 2)):
        sentences.insert(rng.randint(1, len(sentences)), filler)
    return f"{opening}\n{' '.join(sentences)}"


def _pair(left: tuple[str, ...], right: tuple[str, ...], rng: random.Random, held_out: bool) -> tuple[str, str]:
    while True:
        pair = rng.choice(left), rng.choice(right)
        if (zlib.crc32(" ".join(pair).encode()) % HELD_OUT_SHARE == 0) == held_out:
            return pair
