"""The ways in which a user could be served, each measured on the same held-out edits through the real engine.

Each arm answers every held-out request greedily; its cost is the normalised word edit distance to what the user made
of the answer. How likely that text is to the arm is measured beside it, and how far it is ahead of the draft: a model
that is only surer of whatever it writes makes both likelier.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from adapters.dataset import HeldOut
from adapters.ports import AdapterHost
from preference.distance import normalised_distance
from store.errors import EngineRejected

CONCURRENCY = 4
MAX_ANSWER_TOKENS = 2048


@dataclass(frozen=True)
class Arm:
    """One way of serving. ``model`` is a loaded adapter's name, None the base model.

    ``preferences`` says which turns get the preferences that were applied when they were served: all, none, or the
    turns that version ``recorded_by`` itself served (a version that is served alone gets only what came after it).
    """

    name: str
    model: str | None
    preferences: bool
    recorded_by: int | None = None

    def personalised(self, asked: HeldOut) -> bool:
        """Whether the prompt of a held-out request has preferences when this arm serves it."""
        return bool(asked.preferences) and (self.preferences or self.recorded_by == asked.adapter_version)


@dataclass(frozen=True)
class Measured:
    """An arm on the held-out edits, the same ones for every arm.

    ``costs`` are in [0, 1]. ``nlls`` are the negative log-likelihoods of the users' texts, in nats a token, and
    ``leads`` by how much likelier those are than the drafts that they replaced; 0 where a draft was left as it was.
    ``same_as`` names an earlier arm that serves all of them in the same way: it was measured once.
    """

    name: str
    costs: tuple[float, ...]
    nlls: tuple[float, ...]
    leads: tuple[float, ...]
    prompt_tokens: tuple[int, ...]
    with_values: tuple[bool, ...]
    same_as: str = ""


_Way = tuple[str | None, int, bool]  # model, place of the held-out edit, whether with preferences


@dataclass(frozen=True)
class _Answer:
    cost: float
    nll: float
    lead: float
    prompt_tokens: int


async def measure(host: AdapterHost, held_out: Sequence[HeldOut], arms: Sequence[Arm]) -> list[Measured]:
    """Answer every held-out request with every arm; what two arms would ask alike is asked once.

    An edit whose prompt the engine rejects for the base model (too long for it) is left out for all arms; any other
    rejection is raised, as is ``EngineUnavailable``.
    """
    limit = asyncio.Semaphore(CONCURRENCY)
    found: dict[_Way, _Answer] = {}
    usable = set(range(len(held_out)))

    async def answer(way: _Way) -> _Answer:
        model, index, personalised = way
        asked = held_out[index]
        # A token is rarely less than a character: whoever needs more room than this rambles, and pays for it anyway.
        room = min(MAX_ANSWER_TOKENS, 64 + len(asked.target))
        prompt = asked.messages(personalised)
        async with limit:
            said = await host.generate(prompt, max_tokens=room, model=model)
            nll = await host.nll(prompt, asked.target, model=model)
            lead = await host.nll(prompt, asked.draft, model=model) - nll if asked.draft else 0.0
        return _Answer(normalised_distance(said.text, asked.target), nll, lead, said.prompt_tokens)

    ways = [[(arm.model, i, arm.personalised(asked)) for i, asked in enumerate(held_out)] for arm in arms]
    for of_base in (True, False):  # the base model first: it says which edits are usable
        asked = {way for row in ways for way in row if (way[0] is None) is of_base and way[1] in usable}
        inorder = sorted(asked, key=lambda way: way[1:])
        for way, result in zip(
            inorder, await asyncio.gather(*map(answer, inorder), return_exceptions=True), strict=True
        ):
            if of_base and isinstance(result, EngineRejected):
                usable.discard(way[1])
            elif isinstance(result, BaseException):
                raise result
            else:
                found[way] = result
    measured: list[Measured] = []
    for place, (arm, row) in enumerate(zip(arms, ways, strict=True)):
        answers = [found[way] for way in row if way[1] in usable]
        measured.append(
            Measured(
                name=arm.name,
                costs=tuple(one.cost for one in answers),
                nlls=tuple(one.nll for one in answers),
                leads=tuple(one.lead for one in answers),
                prompt_tokens=tuple(one.prompt_tokens for one in answers),
                with_values=tuple(bool(held_out[i].values) for i in sorted(usable)),
                same_as=next((arms[before].name for before in range(place) if ways[before] == row), ""),
            )
        )
    return measured
