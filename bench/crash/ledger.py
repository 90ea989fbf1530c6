"""What was acknowledged, and its comparison with the rows and folders that a kill left.

Comparisons are made while no server runs, so that what they see stands still.
"""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, Table, select

from adapters.directories import Directories
from adapters.versions import UNFINISHED
from bench.crash.engine import check_published, preference_of
from preference import tables
from preference.database import Database
from preference.owner import Owner
from preference.rows import scope

TENANT = "local"
EXAMPLES = 20
_MARK = re.compile(r"mark\d+")


@dataclass(eq=False)
class Edit:
    """An edit that was sent: ``id`` is what was acknowledged, None while in doubt."""

    mark: str
    completion_id: str
    text: str
    key: str | None
    id: str | None = None

    def body(self) -> dict[str, Any]:
        """The request that sends it."""
        return {"type": "edit", "completion_id": self.completion_id, "edited_text": self.text}


@dataclass(eq=False)
class Other:
    """Feedback of another kind that was sent under its key: ``id`` is what was acknowledged, None while in doubt."""

    key: str
    body: dict[str, Any]
    id: str | None = None

    @property
    def about(self) -> str | None:
        """The answer that it is about, of a ranking the best one; a demonstration makes one itself."""
        told: str | None = self.body.get("completion_id") or next(iter(self.body.get("completion_ids", ())), None)
        return told


@dataclass(eq=False)
class Person:
    """One user: what the server said to it, and what it sent."""

    name: str
    drafts: dict[str, str] = field(default_factory=dict)  # completion id → draft
    edits: dict[str, Edit] = field(default_factory=dict)  # mark → edit, in the order they were sent
    others: dict[str, Other] = field(default_factory=dict)  # by key
    deleted: set[int] = field(default_factory=set)  # versions whose deletion was acknowledged

    @property
    def owner(self) -> Owner:
        """The scope of its rows."""
        return Owner(TENANT, self.name)

    @property
    def in_doubt(self) -> list[Edit]:
        """Edits that an app would send again: they have a key, and got no answer."""
        return [edit for edit in self.edits.values() if edit.key is not None and edit.id is None]

    def of_completion(self, completion_id: str) -> list[Edit]:
        """Edits of one answer, in the order they were sent."""
        return [edit for edit in self.edits.values() if edit.completion_id == completion_id]


@dataclass
class Faults:
    """What must never be, each thing once however often it is seen; counts by kind, and the first examples."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    _seen: set[str] = field(default_factory=set)

    def add(self, kind: str, said: str) -> None:
        """``kind`` is lost, doubled, half_published or unexpected."""
        if said in self._seen:
            return
        self._seen.add(said)
        self.counts[kind] += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(f"{kind}: {said}")


@dataclass
class Rows:
    """All rows of one user; ``feedback`` are edits, ``others`` feedback of other kinds."""

    user: Row[Any] | None
    turns: list[Row[Any]]
    feedback: list[Row[Any]]
    preferences: list[Row[Any]]
    contexts: list[Row[Any]]
    jobs: list[Row[Any]]
    adapters: list[Row[Any]]
    others: list[Row[Any]]

    @property
    def teaching(self) -> list[Row[Any]]:
        """Feedback that has a job of its own: edits, comments, demonstrations."""
        return [*self.feedback, *(row for row in self.others if row.type in ("comment", "demonstration"))]


def _rows(c: Connection, owner: Owner) -> Rows:
    def of(table: Table) -> list[Row[Any]]:
        return list(c.execute(select(table).where(scope(table, owner))))

    found = of(tables.users)
    given = of(tables.feedback)
    edits, others = ([row for row in given if (row.type == "edit") == is_edit] for is_edit in (True, False))
    return Rows(
        user=found[0] if found else None,
        turns=of(tables.turns),
        feedback=edits,
        preferences=of(tables.preferences),
        contexts=of(tables.contexts),
        jobs=of(tables.jobs),
        adapters=of(tables.adapters),
        others=others,
    )


class Ledger:
    """Compares persons with the rows of ``database`` and the adapters below ``root``; ``faults`` is the result."""

    def __init__(self, database: Database, root: Path) -> None:
        self.faults = Faults()
        self.stranded = 0
        self._database = database
        self._directories = Directories(root)
        self._seen_stranded: set[tuple[str, int, float]] = set()

    def check(self, persons: Sequence[Person], *, final: bool = False) -> int:
        """How much feedback is not learned yet. ``final``: everything has to be, and nothing may be left over."""
        return sum(self._check(person, final) for person in persons)

    def _check(self, person: Person, final: bool) -> int:
        rows = self._database.read_now(_rows, person.owner)
        held = {row.completion_id for row in rows.turns}
        for completion_id in person.drafts.keys() - held:
            self.faults.add("lost", f"the answer {completion_id} was given, its turn is not there")
        self._check_edits(person, rows)
        self._check_others(person, rows)
        self._check_replacements(person, rows)
        self._check_learning(rows)
        self._check_adapters(person, rows, final)
        waiting = [row for row in rows.teaching if row.status == "pending"]
        if final:
            for row in rows.teaching:
                if row.status not in ("learned", "nothing_learned", "replaced"):
                    self.faults.add("lost", f"{row.id} ended as {row.status}: {row.reason}")
        for job in rows.jobs:
            if final and job.state != "done":
                self.faults.add("lost", f"the {job.kind} job of {job.subject} ended as {job.state}: {job.error}")
        return len(waiting)

    def _check_edits(self, person: Person, rows: Rows) -> None:
        by_id = {row.id: row for row in rows.feedback}
        for edit in person.edits.values():
            row = by_id.get(edit.id) if edit.id else None
            if edit.id is not None and row is None:
                self.faults.add("lost", f"the edit {edit.mark} was accepted as {edit.id}, which is not there")
            if row is not None and (row.edited_text, row.completion_id) != (edit.text, edit.completion_id):
                self.faults.add("lost", f"{edit.id} is not the edit {edit.mark} that was accepted as such")
        sent = Counter(_last_mark(row.edited_text) for row in rows.feedback)
        for mark, count in sent.items():
            if mark not in person.edits:
                self.faults.add("unexpected", f"nobody sent the edit {mark}")
            if count > 1:
                self.faults.add("doubled", f"the edit {mark} has {count} rows")

    def _check_others(self, person: Person, rows: Rows) -> None:
        """What was acknowledged is there as it was sent, and nothing is that nobody sent."""
        by_id = {row.id: row for row in rows.others}
        for other in person.others.values():
            row = by_id.get(other.id) if other.id else None
            if other.id is not None and row is None:
                self.faults.add("lost", f"{other.key} was accepted as {other.id}, which is not there")
            if row is not None and (row.type != other.body["type"] or other.about not in (None, row.completion_id)):
                self.faults.add("lost", f"{other.id} is not what {other.key} was accepted as")
        for row in rows.others:
            if row.source == "user" and row.idempotency_key not in person.others:  # the server finds some itself
                self.faults.add("unexpected", f"nobody sent {row.type} {row.idempotency_key}")
        standing = Counter((row.completion_id, row.type, row.slot) for row in rows.others if row.status != "replaced")
        for place, count in standing.items():
            if count > 1:
                self.faults.add("doubled", f"{count} of {place} stand")

    def _check_replacements(self, person: Person, rows: Rows) -> None:
        """Of an answer's edits the last one stands, and the last one acknowledged is not older than it."""
        by_completion = defaultdict(list)
        for row in sorted(rows.feedback, key=lambda row: row.created_at):
            by_completion[row.completion_id].append(row)
        for completion_id, found in by_completion.items():
            *earlier, last = found
            if last.status == "replaced" or any(row.status != "replaced" for row in earlier):
                self.faults.add("doubled", f"of the edits of {completion_id} not the last one alone stands")
            order = [edit.mark for edit in person.of_completion(completion_id)]
            accepted = [edit.mark for edit in person.of_completion(completion_id) if edit.id]
            if accepted and order.index(_last_mark(last.edited_text)) < order.index(accepted[-1]):
                self.faults.add("lost", f"an edit older than {accepted[-1]}, accepted last, stands")

    def _check_learning(self, rows: Rows) -> None:
        jobs = defaultdict(list)
        for job in rows.jobs:
            if job.kind == "learn":
                jobs[job.subject].append(job)
        texts = Counter(row.text for row in rows.preferences)
        by_text = {row.text: row for row in rows.preferences}
        contexts = defaultdict(list)
        for context in rows.contexts:
            contexts[context.feedback_id].append(context.preference_id)
        standing = {row.completion_id: row for row in rows.feedback if row.status != "replaced"}
        for row in rows.teaching:
            of_it = jobs.pop(row.id, [])
            if len(of_it) != 1:
                self.faults.add("lost" if not of_it else "doubled", f"{row.id} has {len(of_it)} jobs")
            elif row.status == "pending" and of_it[0].state in ("done", "failed"):
                self.faults.add("lost", f"{row.id} is pending, its job is {of_it[0].state}")
            text = preference_of(_last_mark(row.edited_text or row.content["comment"]))
            held = contexts[row.id]
            if texts[text] > 1 or len(set(held)) != len(held):
                self.faults.add("doubled", f"{row.id} taught {texts[text]} equal preferences in {held}")
            learned = row.status == "learned"
            if learned and (texts[text] != 1 or by_text[text].id not in held or set(held) != set(row.learned)):
                self.faults.add("lost", f"{row.id} is learned, and taught {row.learned}, of which {held} are there")
            withdrawn = row.status == "replaced" and standing[row.completion_id].status == "learned"
            if (row.status == "pending" or withdrawn) and held:
                self.faults.add("doubled", f"{row.id} is {row.status}, yet it teaches {held}")
        for subject in jobs:
            self.faults.add("unexpected", f"there is a job for {subject}, which is not there")

    def _check_adapters(self, person: Person, rows: Rows, final: bool) -> None:
        states = {row.version: row.state for row in rows.adapters}
        jobs: Counter[int] = Counter(int(job.subject) for job in rows.jobs if job.kind == "train")
        open_jobs = {int(j.subject) for j in rows.jobs if j.kind == "train" and j.state in ("queued", "running")}
        for version, state in states.items():
            if jobs[version] != 1:
                self.faults.add("doubled" if jobs[version] else "lost", f"v{version} has {jobs[version]} jobs")
            if state in UNFINISHED and version not in open_jobs:
                self.faults.add("lost", f"v{version} of {person.name} is {state}, and no job will go on with it")
        for version in person.deleted:
            if states.get(version) != "deleted":
                self.faults.add("lost", f"v{version} of {person.name} was deleted, and is {states.get(version)}")
        if rows.user is None:
            return
        active, opaque_id = rows.user.active_adapter, rows.user.opaque_id
        if active and states.get(active) != "ready":
            self.faults.add("half_published", f"v{active} of {person.name} is active, and {states.get(active)}")
        published = self._directories.published(opaque_id)
        for version in published:
            directory = self._directories.path(opaque_id, version)
            try:
                check_published(directory)
            except (OSError, ValueError) as error:
                self.faults.add("half_published", f"v{version} of {person.name}: {error}")
                continue
            if states[version] != "ready":
                self._strand(person, version, directory, final)
        for version, state in states.items():
            if state == "ready" and version not in published:
                self.faults.add("half_published", f"v{version} of {person.name} is ready, and has no directory")

    def _strand(self, person: Person, version: int, directory: Path, final: bool) -> None:
        """A directory whose row is not ready: killed before the commit. Nobody loads it, and it must not stay."""
        made = (person.name, version, json.loads((directory / "manifest.json").read_text())["created_at"])
        if made not in self._seen_stranded:
            self._seen_stranded.add(made)
            self.stranded += 1
        if final:
            self.faults.add("half_published", f"v{version} of {person.name} has a directory, and is not ready")


def _last_mark(text: str) -> str:
    found: list[str] = _MARK.findall(text)
    return found[-1] if found else ""
