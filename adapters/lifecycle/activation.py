"""Which versions serve a user, as the rows say: activate, pin, try, roll back, retire; by hand or by themselves.

At most one version is active, and at most one other, the canary, is tried beside it. A pinned one has none beside it.
`registry.py` follows the rows.
"""

import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from sqlalchemy import Connection

from adapters import dataset
from adapters.lifecycle import cohorts, versions
from adapters.lifecycle.versions import Version
from preference.feedback import edit_rows, feedback
from store import jobs, users
from store.errors import Conflict, Invalid
from store.feedback_kinds import TEXTS, UNTRAINED
from store.owner import Owner
from store.users import User

CANARY = "canary"
"""The kind of the job that decides about a canary, and the key of what is noted in a version's report."""
DAY = 86_400.0
MARKED = "erased_edits"
"""The key in a version's report of how many edits and thumbs that it learned from were erased."""


@dataclass(frozen=True)
class Policy:
    """What versions do by themselves.

    An admitted version first answers ``canary_share`` of its user's conversations, in [0, 1]; a tenant may have a share
    of its own. 0: it is active at once. It is decided upon after ``canary_edits`` edited conversations, or after
    ``canary_days``. ``kept`` versions of a user stay on the disk. Versions that learned from an edit which is erased
    serve no more from then on (``drop``), or the active one until another one is trained or could not be (``retrain``).
    """

    canary_share: float = 0.0
    tenant_canary_shares: Mapping[str, float] = field(default_factory=dict)
    canary_edits: int = 40
    canary_days: float = 14.0
    kept: int = 8
    erased_edits: Literal["drop", "retrain"] = "drop"

    def share_of(self, owner: Owner) -> float:
        """The share of this user's conversations that a canary gets."""
        return self.tenant_canary_shares.get(owner.tenant, self.canary_share)


class Transition(NamedTuple):
    """A user as it was before a change; and what is active and what is tried since, as their rows were before it."""

    before: User
    active: Version | None
    canary: Version | None


@dataclass(frozen=True)
class Erased:
    """What erasing feedback did: versions retired, trainings given up, and the version that is queued instead."""

    user: User
    dropped: list[int]
    stopped: list[int]
    queued: int | None


def choose(c: Connection, owner: Owner, version: int, *, pinned: bool = False) -> Transition:
    """Make ``version`` the active one, 0 for the base model.

    A canary that was tried until then is tried no longer. Raises ``NotFound``, and ``Conflict`` for a version that is
    not ready or while another one is pinned.
    """
    user = versions.lock_user(c, owner)
    chosen = ready(c, owner, version) if version else None
    if user.pinned and user.active_adapter != version:
        raise Conflict(f"Adapter version {user.active_adapter} is pinned: unpin it first.", param="version")
    activate(c, owner, version, pinned=pinned or user.pinned)
    return Transition(user, chosen, None)


def take_back(c: Connection, before: User, active: Version | None, canary: Version | None) -> None:
    """Undo a change, unless another one was made since."""
    owner, numbers = before.owner, tuple(one.version if one else 0 for one in (active, canary))
    user = users.get(c, owner) if users.lock(c, owner) else None
    if user is None or (user.active_adapter, user.canary_adapter) != numbers:
        return
    held = versions.ready(c, owner)  # what served before may have been deleted meanwhile
    serves = before.active_adapter if before.active_adapter in held else 0
    tried, share = (before.canary_adapter, before.canary_share) if before.canary_adapter in held else (0, 0.0)
    users.set_active_adapter(
        c, owner, serves, pinned=before.pinned and serves == before.active_adapter, canary=tried, share=share
    )
    if active is not None and active.version != before.active_adapter:
        versions.activated(c, owner, active.version, active.activated_at)
    if canary is not None and canary.version != before.canary_adapter:
        versions.set_state(c, owner, canary.version, canary.state, report=canary.report)
        jobs.cancel(c, owner, CANARY, str(canary.version))
    if tried and str(tried) not in jobs.under_way(c, owner, CANARY):
        jobs.enqueue(c, owner, CANARY, str(tried), run_after=versions.get(c, owner, tried).report[CANARY]["until"])


def unpin(c: Connection, owner: Owner, version: int) -> None:
    """Let training and canaries replace the active version again. Raises ``Conflict`` where another one is active."""
    user = versions.lock_user(c, owner)
    if user.active_adapter != version:
        raise Conflict(f"Adapter version {version} is not the active one.", param="version")
    users.set_active_adapter(c, owner, version, canary=user.canary_adapter, share=user.canary_share)


def roll_back(c: Connection, owner: Owner) -> Transition:
    """End the canary; without one, go back to the version that was active before, or to the base model.

    Raises ``Conflict`` for a pinned version, and on the base model.
    """
    user = versions.lock_user(c, owner)
    if user.canary_adapter:
        return choose(c, owner, user.active_adapter)
    if not user.active_adapter:
        raise Conflict("The base model serves: there is nothing to go back to.", param="version")
    return choose(c, owner, heir(c, user))


def heir(c: Connection, user: User, but: Collection[int] = ()) -> int:
    """The newest ready version before the active one that has been active itself; 0 for the base model.

    None of those in ``but``, nor a marked one.
    """
    earlier = (v for v in versions.all_of(c, user.owner) if v.version < user.active_adapter and v.version not in but)
    been = (v.version for v in earlier if v.state == "ready" and v.activated_at is not None and MARKED not in v.report)
    return max(been, default=0)


def incumbent(c: Connection, owner: Owner) -> Version | None:
    """What a new version has to be better than: what serves, or will when what is marked is dropped."""
    found = versions.active(c, owner)
    if found is None or MARKED not in found.report:
        return found
    number = heir(c, versions.lock_user(c, owner))
    return versions.get(c, owner, number) if number else None


def admit(c: Connection, owner: Owner, version: int, policy: Policy) -> list[int]:
    """Let a version that the gate admitted serve: as a canary where the policy says so; not while another is pinned.

    Gives the versions that are retired to make room for it. The caller holds the user's lock.
    """
    user = versions.lock_user(c, owner)
    share = policy.share_of(owner)
    if share and not user.pinned:
        try_out(c, owner, version, share, policy)
    elif not user.pinned:
        activate(c, owner, version)
    return prune(c, owner, policy)


def try_out(c: Connection, owner: Owner, version: int, share: float, policy: Policy) -> Transition:
    """Let a version answer ``share`` of the conversations, in (0, 1], until `canary.py` decides about it.

    It takes the place of another canary. Raises ``NotFound``, and ``Conflict`` for a version that is not ready, that
    serves already, or while one is pinned.
    """
    user = versions.lock_user(c, owner)
    made = ready(c, owner, version)
    if user.pinned:
        raise Conflict(f"Adapter version {user.active_adapter} is pinned: unpin it first.", param="version")
    if version in (user.active_adapter, user.canary_adapter):
        raise Conflict(f"Adapter version {version} serves already.", param="version")
    since = time.time()
    until = since + policy.canary_days * DAY
    tried = {"against": user.active_adapter, "share": share, "since": since, "until": until, "looks": 0}
    versions.set_state(c, owner, version, "ready", report={**made.report, CANARY: tried})
    users.set_active_adapter(c, owner, user.active_adapter, canary=version, share=share)
    for earlier in sorted(jobs.under_way(c, owner, CANARY)):  # of trials that were ended by hand: they would go first
        jobs.cancel(c, owner, CANARY, earlier)
    jobs.enqueue(c, owner, CANARY, str(version), run_after=until)
    return Transition(user, versions.active(c, owner), made)


def retire(c: Connection, owner: Owner, version: int, sentence: str = "retired by hand") -> User:
    """Serve a version never again; its row stays. Remove its directory after the commit.

    Raises ``NotFound``, and ``Conflict`` for a version that is not ready or serves.
    """
    user = versions.lock_user(c, owner)
    made = ready(c, owner, version)
    if version in (user.active_adapter, user.canary_adapter):
        raise Conflict(f"Adapter version {version} serves the user: activate another one first.", param="version")
    versions.set_state(c, owner, version, "retired", learned_from=(), report={**made.report, "retired": sentence})
    return user


def erase_feedback(c: Connection, owner: Owner, feedback_id: str, policy: Policy) -> Erased:
    """Erase an edit, a thumb or other feedback, and drop the versions that learned from it as the policy says.

    Where enough edits are left, another one is trained. A training that is under way may have read it: it is given up,
    and queued again. Cohorts that the owner taught end with an edit; they know no thumbs. Raises ``NotFound``.
    """
    erased = feedback.get(c, owner, feedback_id)
    if erased.type in UNTRAINED:
        feedback.erase(c, owner, feedback_id)
        return Erased(versions.lock_user(c, owner), [], [], None)
    stopped = _stop(c, owner)  # first: who publishes holds the job before the user
    ids = frozenset(feedback.erase(c, owner, feedback_id))
    user = versions.lock_user(c, owner)
    stopped += _stop(c, owner)  # what began in between
    tainted = {n for n, learned in versions.learned_from(c, owner).items() if learned is None or learned & ids}
    serves = tainted & {user.active_adapter, user.canary_adapter}
    enough = len(edit_rows.edits(c, owner, limit=dataset.MIN_EDITS)) == dataset.MIN_EDITS
    queued = None
    if enough and (stopped or serves):
        waiting = (v.version for v in versions.all_of(c, owner) if v.state in versions.UNFINISHED)
        queued = next(waiting, None) or versions.queue(c, owner)
    spared = {user.active_adapter} if queued and policy.erased_edits == "retrain" else set()
    for number in sorted(tainted & spared):
        held = versions.get(c, owner, number)
        report = {**held.report, MARKED: held.report.get(MARKED, 0) + len(ids)}
        versions.set_state(c, owner, number, held.state, report=report)
    drop(c, owner, tainted - spared)
    if erased.type in TEXTS:
        cohorts.leave(c, owner)
    return Erased(versions.lock_user(c, owner), sorted(tainted - spared), stopped, queued)


def _stop(c: Connection, owner: Owner) -> list[int]:
    """Give up the trainings that are under way; which ones."""
    stopped = []
    for version in versions.all_of(c, owner):
        if version.state == "training":
            with suppress(Invalid):  # it ended just now
                versions.cancel(c, owner, version.version)
                stopped.append(version.version)
    return stopped


def settle(c: Connection, owner: Owner) -> bool:
    """Drop the versions that are marked, once no other one is being made; whether there were any."""
    held = versions.all_of(c, owner)
    if any(version.state in versions.UNFINISHED for version in held):
        return False
    marked = {version.version for version in held if version.state == "ready" and MARKED in version.report}
    drop(c, owner, marked)
    return bool(marked)


def drop(c: Connection, owner: Owner, numbers: Collection[int]) -> None:
    """Retire versions, also those that serve; then what was active before them is active again."""
    user = versions.lock_user(c, owner)
    if user.active_adapter in numbers:
        activate(c, owner, heir(c, user, numbers))
    elif user.canary_adapter in numbers:
        activate(c, owner, user.active_adapter)
    for number in sorted(numbers):
        retire(c, owner, number, "retired: feedback that it learned from was erased")


def prune(c: Connection, owner: Owner, policy: Policy) -> list[int]:
    """Retire the oldest versions that do not serve, beyond those the policy keeps; which ones."""
    user = versions.lock_user(c, owner)
    held = [version.version for version in versions.all_of(c, owner) if version.state == "ready"]
    idle = [version for version in held if version not in (user.active_adapter, user.canary_adapter)]
    surplus = idle[: max(0, len(held) - policy.kept)]
    for version in surplus:
        retire(c, owner, version, f"retired: {policy.kept} versions of a user are kept")
    return surplus


def activate(c: Connection, owner: Owner, version: int, *, pinned: bool = False) -> None:
    """Point the user at a version, 0 for the base model, and at no canary."""
    users.set_active_adapter(c, owner, version, pinned=pinned)
    if version:
        versions.activated(c, owner, version, time.time())


def ready(c: Connection, owner: Owner, version: int) -> Version:
    """A version that can serve. Raises ``NotFound``, ``Conflict``."""
    made = versions.get(c, owner, version)
    if made.state != "ready":
        raise Conflict(f"Adapter version {version} is {made.state}, not ready.", param="version")
    return made
