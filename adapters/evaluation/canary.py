"""A new version tried on some of its user's conversations: which ones, and what their edits say of it.

The feedback that comes in costs less, or it does not; two or three looks at it decide. The looks are at numbers of
conversations that are fixed beforehand, as in group sequential designs (Jennison and Turnbull 2000), and share the
error by Bonferroni's bound, so that looking more than once makes no false alarm likelier.
"""

import hashlib
import json
import math
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal

import numpy as np
from sqlalchemy import Connection

from adapters.lifecycle import activation, versions
from adapters.lifecycle.activation import CANARY, DAY, Policy
from preference.feedback import demonstrations, edit_rows
from preference.feedback.edit_rows import Edit
from store import jobs, users
from store.database import Database
from store.jobs import Job
from store.message import Message
from store.owner import Owner
from store.users import User

EARLY_LOOKS = (0.25, 0.5)
"""Shares of the conversations after which a clear difference decides; after all of them the mean does."""
ERROR = 0.05
"""How often versions that are alike are told apart by one of the early looks, at most."""
MIN_CONVERSATIONS = 5
"""Fewer conversations with either of two versions say nothing against what the gate found."""
PERMUTATIONS = 9999
MAX_EDITS = 1000

Outcome = Literal["promoted", "rolled_back"]


def dealt(user: User, conversation: Sequence[Message], at: float) -> int:
    """The version that answers a conversation: the canary for its share of them, else the active one.

    It depends on the day ``at`` (Unix seconds) and on how the conversation begins, up to the user's first message. So
    every server deals alike, all turns of a conversation get one version, and who always begins alike gets the
    other version on another day.
    """
    if not user.canary_adapter:
        return user.active_adapter
    return user.canary_adapter if _place(user, conversation, at) < user.canary_share else user.active_adapter


def _place(user: User, conversation: Sequence[Message], at: float) -> float:
    """Where a conversation falls, in [0, 1)."""
    asked = (number for number, message in enumerate(conversation, 1) if message["role"] == "user")
    opening = list(conversation[: next(asked, None)])
    dealt = json.dumps([user.opaque_id, user.canary_adapter, int(at // DAY), opening], sort_keys=True)
    return int.from_bytes(hashlib.sha256(dealt.encode(errors="surrogatepass")).digest()[:6]) / 2**48


def costs(user: User, against: int, edits: Sequence[Edit]) -> tuple[list[float], list[float]]:
    """The cost of each conversation with the canary, and with the version ``against``: the mean over its edits.

    Conversations are what was dealt, so they are what is counted. A turn that another version answered than it was
    dealt, at the caller's wish or while one was loading, counts for neither.
    """
    found: dict[int, dict[float, list[float]]] = {user.canary_adapter: defaultdict(list), against: defaultdict(list)}
    for edit in edits:
        turn = edit.turn
        if turn.completion_id.startswith(demonstrations.PREFIX):  # nobody was answered
            continue
        answered = turn.adapter_version
        if answered in found and answered == dealt(user, turn.request, turn.created_at):
            found[answered][_place(user, turn.request, turn.created_at)].append(edit.cost)
    tried, served = ([float(np.mean(one)) for one in found[arm].values()] for arm in (user.canary_adapter, against))
    return tried, served


def permutation_p(first: Sequence[float], second: Sequence[float]) -> float:
    """How likely a difference of means as large as this one is if the labels mean nothing, in (0, 1].

    Pitman's permutation test, two-sided, by ``PERMUTATIONS`` random ones, the observed one among them: exact whatever
    the costs' distribution. Few values never give a small one.
    """
    if not first or not second:
        return 1.0
    pooled = np.asarray([*first, *second])
    shuffled = np.random.default_rng(0).permuted(np.tile(pooled, (PERMUTATIONS, 1)), axis=1)
    differences = shuffled[:, : len(first)].mean(axis=1) - shuffled[:, len(first) :].mean(axis=1)
    observed = abs(float(np.mean(first) - np.mean(second)))
    return (1 + int((np.abs(differences) >= observed - 1e-12).sum())) / (1 + PERMUTATIONS)


def decide(
    tried: Sequence[float], served: Sequence[float], *, looks: int, conversations: int, over: bool
) -> tuple[Outcome | None, int, float]:
    """What becomes of a canary: the outcome, None while it goes on; how many looks there were; and p at the last.

    ``looks`` of them were before. At its end, after so many ``conversations`` or when its time is ``over``, the canary
    goes if it cost more; with too little to compare, it stays, as the gate found.
    """
    counted = len(tried) + len(served)
    p = 1.0
    worse = bool(tried and served) and float(np.mean(tried)) > float(np.mean(served))
    if over or counted >= conversations:
        p = permutation_p(tried, served)
        enough = min(len(tried), len(served)) >= MIN_CONVERSATIONS
        return "rolled_back" if worse and enough else "promoted", looks, p
    if looks < len(EARLY_LOOKS) and counted >= math.ceil(EARLY_LOOKS[looks] * conversations):
        looks += 1
        p = permutation_p(tried, served)
        if p <= ERROR / len(EARLY_LOOKS):
            return "rolled_back" if worse else "promoted", looks, p
    return None, looks, p


def notice(c: Connection, owner: Owner) -> None:
    """An edit came in: a canary that is being tried is looked at soon."""
    user = users.get(c, owner)
    if user is not None and user.canary_adapter:
        jobs.hasten(c, owner, CANARY, str(user.canary_adapter))


class Canaries:
    """Handler of ``canary`` jobs, whose subject is a version: one waits for the end of each trial, and edits hasten it.

    ``on_decided`` is told of the user when other versions serve from now on.
    """

    kind = CANARY

    def __init__(self, database: Database, policy: Policy, on_decided: Callable[[User], Awaitable[object]]) -> None:
        self._database = database
        self._policy = policy
        self._on_decided = on_decided

    async def __call__(self, job: Job) -> None:
        """Look at a trial. Raises ``LostLease``."""
        decided = await self._database.write(_look, job, self._policy)
        if decided is not None:
            await self._on_decided(decided)

    async def on_failed(self, job: Job, reason: str | None) -> None:
        """The worker gave up: a trial that cannot be judged is over, and what served before serves on."""
        ended = await self._database.write(_end, job, reason or "the server's log says why")
        if ended is not None:
            await self._on_decided(ended)


def _look(c: Connection, job: Job, policy: Policy) -> User | None:
    """The user, if this look decided; else the next one is queued. In one transaction with the job's end."""
    jobs.hold(c, job)
    user = _tried(c, job)
    if user is None:
        return None
    version = user.canary_adapter
    noted: dict[str, Any] = versions.get(c, job.owner, version).report[CANARY]
    if noted["against"] != user.active_adapter:  # that one was deleted: what serves since is what there is to compare
        noted |= {"against": user.active_adapter, "since": time.time(), "looks": 0}
    edits = edit_rows.edit_page(c, job.owner, after=noted["since"], limit=MAX_EDITS)
    tried, served = costs(user, noted["against"], [edit for edit in edits if edit.turn.created_at >= noted["since"]])
    over = time.time() >= noted["until"] or len(edits) == MAX_EDITS
    outcome, looks, p = decide(tried, served, looks=noted["looks"], conversations=policy.canary_edits, over=over)
    found = {
        **{name: noted[name] for name in ("against", "since")},
        "looks": looks,
        "conversations": {"canary": len(tried), "before": len(served)},
        "cost": {"canary": _mean(tried), "before": _mean(served)},
    }
    if outcome is None:
        _note(c, user, found)
        jobs.finish(c, job)
        jobs.enqueue(c, job.owner, CANARY, job.subject, run_after=noted["until"])
        return None
    compared = f"{_told(tried)} against {_told(served)} of {_named(noted['against'])}"
    sentence = f"{outcome.replace('_', ' ')}: {compared}, p = {p:.3f}"
    _note(c, user, {**found, "verdict": outcome, "p": round(p, 4), "sentence": sentence})
    activation.activate(c, job.owner, version if outcome == "promoted" else user.active_adapter)
    jobs.finish(c, job)
    return versions.lock_user(c, job.owner)


def _end(c: Connection, job: Job, reason: str) -> User | None:
    jobs.hold(c, job)
    user = _tried(c, job)
    if user is None:
        return None
    _note(c, user, {"verdict": "rolled_back", "sentence": f"rolled back, for it could not be judged: {reason}"})
    users.set_active_adapter(c, job.owner, user.active_adapter)
    return versions.lock_user(c, job.owner)


def _tried(c: Connection, job: Job) -> User | None:
    """The user, locked, while the job's version is the canary."""
    user = users.get(c, job.owner) if users.lock(c, job.owner) else None
    return user if user is not None and user.canary_adapter == int(job.subject) else None


def _note(c: Connection, user: User, found: dict[str, Any]) -> None:
    held = versions.get(c, user.owner, user.canary_adapter)
    report = {**held.report, CANARY: {**held.report[CANARY], **found}}
    versions.set_state(c, user.owner, held.version, held.state, report=report)


def _mean(found: Sequence[float]) -> float | None:
    return round(float(np.mean(found)), 4) if found else None


def _told(found: Sequence[float]) -> str:
    return f"{np.mean(found):.3f} on {len(found)} edited conversations" if found else "no edited conversation"


def _named(version: int) -> str:
    return f"version {version}" if version else "the base model"
