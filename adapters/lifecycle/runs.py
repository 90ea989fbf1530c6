"""A version in the making, in the rows: taken up, noted, ended, published, each by who holds its job.

Every function raises ``LostLease`` for a job that is held no more.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Connection

from adapters import dataset
from adapters.artifacts.directories import Directories, size_of
from adapters.artifacts.manifest import Manifest
from adapters.lifecycle import activation, versions
from adapters.lifecycle.activation import Policy
from adapters.lifecycle.versions import Version
from adapters.objective import Objective
from preference.feedback import edit_rows, opinions
from preference.feedback.edit_rows import Edit, Thumb
from preference.feedback.opinions import Ranking
from store import jobs, users
from store.errors import Conflict, NotFound
from store.jobs import Job
from store.users import User


@dataclass(frozen=True)
class Begun:
    """Whose version it is, what serves now, and what the objective learns from; ratings are thumbs by their median."""

    user: User
    serving: Version | None
    edits: list[Edit]
    thumbs: list[Thumb]
    rankings: list[Ranking]


class Ended(NamedTuple):
    """Whose version has ended, and whether another one serves since."""

    user: User
    serves_other: bool


@dataclass(frozen=True)
class Made:
    """A version to be published: whose, its files, and what its row says; ``learned_from`` None: not known."""

    opaque_id: str
    adapter: Path
    manifest: Manifest
    mode: str
    learned_through: float
    learned_from: frozenset[str] | None


def begin(c: Connection, job: Job, number: int, objective: Objective) -> Begun | None:
    """Take the version up. None when nothing is left to do."""
    jobs.hold(c, job)
    users.lock(c, job.owner)  # an edit that is being erased is not read any more
    user = users.get(c, job.owner)
    if user is None or versions.get(c, job.owner, number).state not in ("queued", "training", "failed"):
        return None
    versions.set_state(c, job.owner, number, "training", report={"training": {"started_at": time.time()}})
    edits = edit_rows.edits(c, job.owner, limit=dataset.MAX_EDITS)
    thumbs: list[Thumb] = []
    if objective.learns_from_thumbs:
        thumbs = edit_rows.thumbs(c, job.owner, limit=dataset.MAX_THUMBS)
        thumbs += opinions.rated(c, job.owner, limit=dataset.MAX_THUMBS)
    wanted = objective.learns_from_rankings
    rankings = opinions.rankings(c, job.owner, limit=dataset.MAX_RANKINGS) if wanted else []
    thumbs.sort(key=lambda one: one.created_at)
    return Begun(user, activation.incumbent(c, job.owner), edits, thumbs, rankings)


def note(c: Connection, job: Job, number: int, noted: dict[str, Any]) -> None:
    """Keep with the version how far it is."""
    jobs.hold(c, job)
    made = versions.get(c, job.owner, number)
    if made.state == "training":
        report = {"training": {**made.report.get("training", {}), **noted}}
        versions.set_state(c, job.owner, number, "training", report=report)


def end(c: Connection, job: Job, number: int, state: versions.State, report: dict[str, Any]) -> Ended | None:
    """Store how it ended. None where that was known: a worker can die between a publication and its job's end."""
    jobs.hold(c, job)
    made = versions.get(c, job.owner, number)
    if made.state in ("ready", "refused"):
        return None
    versions.set_state(c, job.owner, number, state, report=versions.ended(made, report))
    settled = activation.settle(c, job.owner)
    return Ended(versions.lock_user(c, job.owner), settled)


def fail(c: Connection, job: Job, number: int, reason: str | None) -> Ended | None:
    """Store as ``end`` that it failed; without a ``reason``, the server's log alone says why."""
    sentence = "training failed; the server's log says why" if reason is None else f"failed: {reason}"
    return end(c, job, number, "failed", {"verdict": "failed", "sentence": sentence})


def publish(c: Connection, job: Job, new: Made, directories: Directories, policy: Policy) -> User:
    """Directory, row and what serves in one transaction, under the user's lock: an erased user gets nothing."""
    jobs.hold(c, job)
    user = versions.lock_user(c, job.owner)
    if user.opaque_id != new.opaque_id:
        raise NotFound("there is no such user", param="user")
    number = new.manifest.version
    made = versions.get(c, job.owner, number)
    if made.state != "training":
        raise Conflict(f"adapter version {number} was changed while it was being made", param="version")
    report = versions.ended(made, new.manifest.report)
    versions.set_state(
        c, job.owner, number, "ready", mode=new.mode, learned_through=new.learned_through,
        learned_from=new.learned_from, report=report, bytes=size_of(new.adapter),
    )  # fmt: skip
    activation.settle(c, job.owner)
    activation.admit(c, job.owner, number, policy)
    directories.publish(new.adapter, new.opaque_id, new.manifest)
    return versions.lock_user(c, job.owner)
