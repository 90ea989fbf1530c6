"""Whether a candidate still obeys: the regression set that it must pass, judged by what the base model does.

Three kinds of items. ``system message`` and ``values``: the user's own requests, as they were asked, and a few of
everybody's, each under an instruction and under its opposite (``instructions.py``), said where the kind says.
``own values``: held-out edits under the values that they were made under, and under others that the user stated.

An item counts where the base model obeys, so that nobody is blamed for what the base model cannot do. Two figures:
how many of those the candidate obeys; and the lift, by how many nats a token the right text is likelier under its own
instruction than under the other one. What is likely under both, a user's habits, cancels out of it.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from adapters.dataset import HeldOut, plain
from adapters.evaluation.arms import CONCURRENCY
from adapters.evaluation.instructions import OPPOSITES, REQUESTS, Check
from adapters.evaluation.interval import paired_interval
from adapters.ports import AdapterHost
from store.errors import EngineRejected
from store.message import Message
from store.values import Value

KEPT_ITEMS, KEPT_LIFT = 0.75, 0.5
"""A candidate fails that clearly obeys less than this share of what the base model does, or has less of its lift.

The lift may fall further: a good adapter knows its user, and gains less from being told.
"""
MIN_ITEMS = 4
"""Fewer items than this say nothing."""
MAX_OWN = 12
MAX_ANSWER_TOKENS = 128
SYSTEM, VALUES, OWN_VALUES = "system message", "values", "own values"
_T = TypeVar("_T")


@dataclass(frozen=True)
class Item:
    """A request under two wishes that differ: its prompt under each.

    ``obeyed`` says of an answer to each whether it obeys. Where nothing can be checked there is a ``target`` instead:
    the user's own text under the first wish.
    """

    kind: str
    prompts: tuple[list[Message], list[Message]]
    obeyed: tuple[Check, Check] | None = None
    target: str = ""


@dataclass(frozen=True)
class Kept:
    """What is kept of one kind, of whose items ``tried`` were tried: figures for each of those that count.

    Lifts are in nats a token. ``obeyed`` is the candidate's obedience, None where it cannot be checked.
    """

    kind: str
    tried: int
    base_lifts: tuple[float, ...]
    lifts: tuple[float, ...]
    obeyed: tuple[bool, ...] | None


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One kind's row of the report; None where it cannot be checked, or where nothing counts."""

    tried: int
    obeyed_by_base: int | None = None
    obeyed: int | None = None
    lift_of_base: float | None = None
    lift: float | None = None
    passed: bool
    skipped: str = ""


def items(held_out: Sequence[HeldOut]) -> list[Item]:
    """The regression set for a user: at most 4 × ``OPPOSITES`` and ``MAX_OWN`` items."""
    # The shortest requests leave the most room, and take the least time.
    own = sorted(held_out, key=lambda asked: sum(len(str(m.get("content"))) for m in asked.request))
    system_role = all(asked.system_role for asked in held_out)
    ours = [HeldOut("", ({"role": "user", "content": r},), (), (), 0, "", system_role) for r in REQUESTS]
    made = []
    for number, opposites in enumerate(OPPOSITES):
        checks = opposites[0].obeyed, opposites[1].obeyed
        for asked in (own[number % len(own)], ours[number % len(ours)]):
            one, other = (_valuing(asked, wish.text) for wish in opposites)
            made.append(Item(VALUES, (one, other), checks))
            if system_role:
                one, other = (_told(asked, wish.text) for wish in opposites)
                made.append(Item(SYSTEM, (one, other), checks))
    return made + _own_values(held_out)


async def examine(host: AdapterHost, candidate: str, regression: Sequence[Item]) -> list[Kept]:
    """Try a regression set on the base model, and on the candidate what the base model obeys.

    An item that the engine rejects for the base model is left out. Raises ``EngineUnavailable``, ``EngineRejected``.
    """
    limit = asyncio.Semaphore(CONCURRENCY)

    async def texts(item: Item, model: str | None) -> list[str] | None:
        """The target, or an answer to each prompt; None, and asked no further, once one does not obey."""
        if item.obeyed is None:
            return [item.target]
        said = []
        async with limit:
            for prompt, obeyed in zip(item.prompts, item.obeyed, strict=True):
                answer = await host.generate(prompt, max_tokens=MAX_ANSWER_TOKENS, model=model)
                if not obeyed(answer.text):
                    return None
                said.append(answer.text)
        return said

    async def lift(item: Item, right: Sequence[str], model: str | None) -> float:
        """Of one text for each prompt, or of one for the first."""
        async with limit:
            lifts = [
                await host.nll(other, text, model=model) - await host.nll(prompt, text, model=model)
                for text, prompt, other in zip(right, item.prompts, reversed(item.prompts), strict=False)
            ]
        return sum(lifts) / len(lifts)

    async def by_base(item: Item) -> tuple[Item, list[str], float] | None:
        """The right texts by the base model and its lift; None where it does not obey, or cannot be asked."""
        try:
            right = await texts(item, None)
            return None if right is None else (item, right, await lift(item, right, None))
        except EngineRejected:
            return None

    async def by_candidate(item: Item, right: Sequence[str]) -> tuple[float, bool]:
        obeys = await texts(item, candidate) is not None
        return await lift(item, right, candidate), obeys

    counted = [found for found in await _all([by_base(item) for item in regression]) if found is not None]
    new = await _all([by_candidate(item, right) for item, right, _ in counted])
    kept = []
    for kind in dict.fromkeys(item.kind for item in regression):
        rows = [(base, *found) for (item, _, base), found in zip(counted, new, strict=True) if item.kind == kind]
        kept.append(
            Kept(
                kind=kind,
                tried=sum(item.kind == kind for item in regression),
                base_lifts=tuple(base for base, _, _ in rows),
                lifts=tuple(lift for _, lift, _ in rows),
                obeyed=None if kind == OWN_VALUES else tuple(obeys for _, _, obeys in rows),
            )
        )
    return kept


def judge(kept: Kept, *, seed: int = 0) -> Judged:
    """One kind's row of the report. ``passed`` is False where the candidate clearly keeps too little.

    Where the base model does not obey either, in too few items or for no clear lift, ``skipped`` says so.
    """
    base, lifts = np.asarray(kept.base_lifts), np.asarray(kept.lifts)
    row: dict[str, Any] = {"tried": kept.tried}
    if kept.obeyed is not None:
        row |= {"obeyed_by_base": len(base), "obeyed": sum(kept.obeyed)}
    if len(base):
        row |= {"lift_of_base": round(float(base.mean()), 4), "lift": round(float(lifts.mean()), 4)}
    lacks = [] if kept.obeyed is None else [np.asarray(kept.obeyed) - KEPT_ITEMS]
    if len(base) >= MIN_ITEMS and paired_interval(base, seed=seed)[1][0] > 0:
        lacks.append(lifts - KEPT_LIFT * base)
    if len(base) < MIN_ITEMS or not lacks:
        return Judged(**row, passed=True, skipped="the base model obeys too little of this to tell")
    return Judged(**row, passed=all(paired_interval(lack, seed=seed)[1][1] >= 0 for lack in lacks))


def _own_values(held_out: Sequence[HeldOut]) -> list[Item]:
    """The newest held-out edits with stated values, each with those of another one; none where all state the same."""
    valuing = [asked for asked in held_out if asked.values]
    stated = list(dict.fromkeys(asked.values for asked in valuing))
    if len(stated) < 2:
        return []
    made = []
    for asked in valuing[-MAX_OWN:]:
        other = replace(asked, values=stated[stated.index(asked.values) - 1])
        made.append(Item(OWN_VALUES, (asked.messages(False), other.messages(False)), target=asked.target))
    return made


def _valuing(asked: HeldOut, wish: str) -> list[Message]:
    return replace(asked, values=(*asked.values, Value(preference=wish))).messages(False)


def _told(asked: HeldOut, wish: str) -> list[Message]:
    """The prompt with a wish at the end of the caller's system message."""
    first, *rest = (plain(message) for message in asked.request)
    if first["role"] in ("system", "developer"):
        request = [{**first, "content": f"{first['content']}\n\n{wish}"}, *rest]
    else:
        request = [{"role": "system", "content": wish}, first, *rest]
    return replace(asked, request=tuple(request)).messages(False)


async def _all(work: Sequence[Coroutine[Any, Any, _T]]) -> list[_T]:
    """The results of all, or the first error once none of them is under way."""
    results = await asyncio.gather(*work, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [result for result in results if not isinstance(result, BaseException)]
