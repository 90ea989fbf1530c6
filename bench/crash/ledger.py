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

from adapters.artifacts.directories import Directories
from adapters.lifecycle.versions import UNFINISHED
from bench.crash.engine import check_published, preference_of
from store import tables
from store.database import Database
from store.owner import Owner
from store.rows import scope

TENANT = "local"
EXAMPLES = 20
_MARK = re.compile(r"mark\d+")


@dataclass(eq=False)
class Feedback:
    """Feedback that was sent: ``id`` is what was acknowledged, None while in doubt; ``mark`` is what an edit adds."""

    body: dict[str, Any]
    key: str | None
    mark: str = ""
    id: str | None = None

    @property
    def is_edit(self) -> bool:
        """Whether it is an edit."""
        return bool(self.body["type"] == "edit")

    @property
    def about(self) -> str | None:
        """The answer that it is about, of a ranking the best one; a demonstration makes one itself."""
        told: str | None = self.body.get("completion_id") or next(iter(self.body.get("completion_ids", ())), None)
        return told

    def stands_in(self, row: Row[Any]) -> bool:
        """Whether a row of feedback is this."""
        same_text = not self.is_edit or bool(row.edited_text == self.body["edited_text"])
        return bool(row.type == self.body["type"]) and self.about in (None, row.completion_id) and same_text


@dataclass(eq=False)
class Person:
    """One user: what the server said to it, and what it sent, in that order."""

    name: str
    drafts: dict[str, str] = field(default_factory=dict)  # completion id → draft
    sent: list[Feedback] = field(default_factory=list)
    deleted: set[int] = field(default_factory=set)  # versions whose deletion was acknowledged

    @property
    def owner(self) -> Owner:
        """The scope of its rows."""
        return Owner(TENANT, self.name)

    @property
    def edits(self) -> list[Feedback]:
        """Its edits."""
        return [sent for sent in self.sent if sent.is_edit]

    @property
    def in_doubt(self) -> list[Feedback]:
        """What an app would send again: it has a key, and got no answer."""
        return [sent for sent in self.sent if sent.key is not None and sent.id is None]


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


class Rows:
    """All rows of one user; ``teaching`` is feedback that has a job of its own: edits, comments, demonstrations."""

    def __init__(self, c: Connection, owner: Owner) -> None:
        def of(table: Table) -> list[Row[Any]]:
            return list(c.execute(select(table).where(scope(table, owner))))

        self.user = next(iter(of(tables.users)), None)
        self.turns = of(tables.turns)
        self.feedback = of(tables.feedback)
        self.edits = [row for row in self.feedback if row.type == "edit"]
        self.teaching = [row for row in self.feedback if row.type in ("edit", "comment", "demonstration")]
        self.preferences = of(tables.preferences)
        self.contexts = of(tables.contexts)
        self.jobs = of(tables.jobs)
        self.adapters = of(tables.adapters)


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
        rows = self._database.read_now(Rows, person.owner)
        held = {row.completion_id for row in rows.turns}
        for completion_id in person.drafts.keys() - held:
            self.faults.add("lost", f"the answer {completion_id} was given, its turn is not there")
        self._check_sent(person, rows)
        self._check_replacements(person, rows)
        self._check_learning(rows)
        self._check_adapters(person, rows, final)
        if final:
            for row in rows.teaching:
                if row.status not in ("learned", "nothing_learned", "replaced"):
                    self.faults.add("lost", f"{row.id} ended as {row.status}: {row.reason}")
            for job in rows.jobs:
                if job.state != "done":
                    self.faults.add("lost", f"the {job.kind} job of {job.subject} ended as {job.state}: {job.error}")
        return sum(row.status == "pending" for row in rows.teaching)

    def _check_sent(self, person: Person, rows: Rows) -> None:
        """What was acknowledged is there as it was sent, and nothing is that nobody sent, or twice."""
        by_id = {row.id: row for row in rows.feedback}
        for sent in person.sent:
            row = by_id.get(sent.id) if sent.id else None
            if sent.id is not None and row is None:
                self.faults.add("lost", f"{sent.mark or sent.key} was accepted as {sent.id}, which is not there")
            if row is not None and not sent.stands_in(row):
                self.faults.add("lost", f"{sent.id} is not what {sent.mark or sent.key} was accepted as")
        keys, marks = {sent.key for sent in person.sent}, {edit.mark for edit in person.edits}
        for row in rows.feedback:
            if row.type != "edit" and row.source == "user" and row.idempotency_key not in keys:
                self.faults.add("unexpected", f"nobody sent {row.type} {row.idempotency_key}")
        for mark, count in Counter(_last_mark(row.edited_text) for row in rows.edits).items():
            if mark not in marks:
                self.faults.add("unexpected", f"nobody sent the edit {mark}")
            if count > 1:
                self.faults.add("doubled", f"the edit {mark} has {count} rows")
        standing = Counter(
            (row.completion_id, row.type, row.slot)
            for row in rows.feedback
            if row.type != "edit" and row.status != "replaced"
        )
        for place, count in standing.items():
            if count > 1:
                self.faults.add("doubled", f"{count} of {place} stand")

    def _check_replacements(self, person: Person, rows: Rows) -> None:
        """Of an answer's edits the last one stands, and the last one acknowledged is not older than it."""
        by_completion = defaultdict(list)
        for row in sorted(rows.edits, key=lambda row: row.created_at):
            by_completion[row.completion_id].append(row)
        for completion_id, found in by_completion.items():
            *earlier, last = found
            if last.status == "replaced" or any(row.status != "replaced" for row in earlier):
                self.faults.add("doubled", f"of the edits of {completion_id} not the last one alone stands")
            edits = [edit for edit in person.edits if edit.about == completion_id]
            order, accepted = [edit.mark for edit in edits], [edit.mark for edit in edits if edit.id]
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
        standing = {row.completion_id: row for row in rows.edits if row.status != "replaced"}
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
