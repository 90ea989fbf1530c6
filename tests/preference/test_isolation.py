"""Isolation: random operations of many owners, compared with one plain model for each of them."""

import asyncio
import secrets
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy import Connection, RowMapping, Table, select

from adapters.lifecycle import versions
from adapters.lifecycle.versions import UNFINISHED
from preference import context_rows, preferences
from preference.feedback import edit_rows, feedback
from preference.ports import Vectors
from preference.recall.index import RecallLimits
from preference.recall.recall import Recall
from store import erasures, jobs, keys, tables, turns, users
from store.database import Database
from store.errors import AttuneError, Conflict, IdempotencyConflict, NotFound
from store.jobs import Job
from store.owner import Owner
from store.values import Value
from tests.preference.helpers import submit, turn, unit
from tests.preference.script import ALIKE, MANY, play, prepare

# Most operations are of a few owners, so that they meet themselves and each other.
owners = st.sampled_from(ALIKE) | st.sampled_from(MANY)
completions = st.sampled_from(["c-1", "c-2", "c-3"])
texts = st.sampled_from(["short", "no greeting", "bullets, please", "%", "_"])


class OneDirection:
    """An embedder to which all texts are alike."""

    name = "e"
    dimension = 2
    kinds = 2

    def embed(self, texts: Sequence[str]) -> Vectors:
        return np.tile(unit(1, 2), (len(texts), 1))

    def goes_on(self, vector: Vectors) -> bool:
        return False


@dataclass
class Expected:
    """What one owner must have."""

    revision: int
    opaque_id: str
    values: tuple[Value, ...] = ()
    adapter: int = 0
    turns: dict[str, str] = field(default_factory=dict)
    feedback: dict[str, tuple[str, str | None, str]] = field(default_factory=dict)  # completion, text, status
    keys: dict[str, str] = field(default_factory=dict)
    preferences: dict[str, tuple[str, str, bool]] = field(default_factory=dict)  # text, status, locked
    contexts: dict[str, list[str]] = field(default_factory=dict)
    jobs: list[tuple[str, str, str]] = field(default_factory=list)  # kind, subject, state
    versions: dict[int, str] = field(default_factory=dict)  # state

    def due(self, kind: str) -> tuple[str, str, str] | None:
        """The job that a lease of ``kind`` must give, unless one runs."""
        if any(state == "running" for _, _, state in self.jobs):
            return None
        return next((job for job in self.jobs if job[0] == kind and job[2] == "queued"), None)


class Storage(RuleBasedStateMachine):
    """Runs each operation on the store and on the model; they must agree about every owner after every step."""

    database: Database

    def __init__(self) -> None:
        super().__init__()
        self.model: dict[Owner, Expected] = {}
        self.api_keys: dict[str, tuple[str, str]] = {}  # by the plain key: its id, its tenant
        self.leased: list[Job] = []
        self.erased: set[str] = set()
        self.recall = Recall(self.database, OneDirection(), RecallLimits(budget=1_000_000))
        self.last = ALIKE[0]

    @initialize()
    def begin_anew(self) -> None:
        def anew(c: Connection) -> None:
            for table in reversed(tables.metadata.sorted_tables):
                c.execute(table.delete())
            for owner in MANY:
                made = users.ensure(c, owner)
                self.model[owner] = Expected(made.revision, made.opaque_id)
                for completion_id in ("c-1", "c-2"):
                    turns.record(c, owner, turn(completion_id, 1.0, "draft"))
                    self.model[owner].turns[completion_id] = "draft"

        self.database.write_now(anew)

    @rule(owner=owners)
    def ensure(self, owner: Owner) -> None:
        self.last = owner
        user = self.database.write_now(users.ensure, owner)
        self.model.setdefault(owner, Expected(user.revision, user.opaque_id))

    @rule(owner=st.sampled_from(ALIKE))
    def delete_user(self, owner: Owner) -> None:
        self.last = owner
        gone = self.model.pop(owner, None)
        assert self.database.write_now(users.delete, owner) == (gone is not None)
        if gone is not None:
            self.recall.forget(gone.opaque_id)
            self.erased.add(gone.opaque_id)
            self.leased = [job for job in self.leased if job.owner != owner]

    @rule(owner=owners, text=texts, adapter=st.integers(0, 3))
    def settle(self, owner: Owner, text: str, adapter: int) -> None:
        self.last = owner
        values = (Value(preference=text),)

        def both(c: Connection) -> None:
            users.set_standing_values(c, owner, values)
            users.set_active_adapter(c, owner, adapter)

        if owner not in self.model:
            with pytest.raises(NotFound):
                self.database.write_now(both)
            return
        self.database.write_now(both)
        expected = self.model[owner]
        expected.values, expected.adapter, expected.revision = values, adapter, expected.revision + 2

    @rule(owner=owners, completion_id=completions, answer=texts)
    def record(self, owner: Owner, completion_id: str, answer: str) -> None:
        self.last = owner
        expected = self.model.get(owner)
        if expected is None or completion_id in expected.turns:
            with pytest.raises(NotFound if expected is None else Conflict):
                self.database.write_now(turns.record, owner, turn(completion_id, 1.0, answer))
            return
        self.database.write_now(turns.record, owner, turn(completion_id, 1.0, answer))
        expected.turns[completion_id] = answer

    @rule(owner=owners, completion_id=completions, text=texts, key=st.sampled_from([None, "k-1", "k-2"]))
    def edit(self, owner: Owner, completion_id: str, text: str, key: str | None) -> None:
        self.last = owner

        def accept() -> feedback.Feedback:
            return self.database.write_now(
                submit,
                owner,
                completion_id=completion_id,
                edited_text=text,
                idempotency_key=key,
                body_sha256=f"{completion_id} {text}",
            )

        expected = self.model.get(owner)
        known = expected.keys.get(key) if expected and key else None
        if expected is None or (known is None and completion_id not in expected.turns):
            with pytest.raises(NotFound):
                accept()
        elif known is not None and expected.feedback[known][:2] != (completion_id, text):
            with pytest.raises(IdempotencyConflict):
                accept()
        elif known is not None:
            assert (accept().id, accept().status) == (known, "pending")
        else:
            id = accept().id
            for earlier, (of, was, _) in expected.feedback.items():
                if of == completion_id:
                    expected.feedback[earlier] = (of, was, "replaced")
            expected.feedback[id] = (completion_id, text, "pending")
            expected.jobs.append(("learn", id, "queued"))
            if key:
                expected.keys[key] = id

    @rule(owner=owners, whose=owners, data=st.data())
    def resolve(self, owner: Owner, whose: Owner, data: st.DataObject) -> None:
        self.last = owner
        theirs = self.model.get(whose)
        if theirs is None or not theirs.feedback:
            return
        id = data.draw(st.sampled_from(sorted(theirs.feedback)))
        if owner != whose:
            with pytest.raises(NotFound):
                self.database.write_now(feedback.resolve, owner, id, "learned")
            return
        self.database.write_now(feedback.resolve, owner, id, "learned")
        completion_id, text, status = theirs.feedback[id]
        theirs.feedback[id] = (completion_id, text, "replaced" if status == "replaced" else "learned")

    @rule(owner=owners, text=texts)
    def state(self, owner: Owner, text: str) -> None:
        self.last = owner
        if owner not in self.model:
            with pytest.raises(NotFound):
                self.database.write_now(preferences.create, owner, text, "stated")
            return
        made = self.database.write_now(preferences.create, owner, text, "stated")
        self.model[owner].preferences[made.id] = (text, "active", False)
        self.model[owner].contexts[made.id] = []
        self.model[owner].revision += 1

    @rule(
        owner=owners,
        whose=owners,
        text=texts,
        what=st.sampled_from(["correct", "lock", "supersede", "delete", "context"]),
        data=st.data(),
    )
    def change(self, owner: Owner, whose: Owner, text: str, what: str, data: st.DataObject) -> None:
        self.last = owner
        theirs = self.model.get(whose)
        if theirs is None or not theirs.preferences:
            return
        id = data.draw(st.sampled_from(sorted(theirs.preferences)))
        held, status, locked = theirs.preferences[id]

        def apply(c: Connection) -> None:
            if what == "correct":
                preferences.change(c, owner, id, text=text)
            elif what == "lock":
                preferences.change(c, owner, id, locked=True)
            elif what == "supersede":
                preferences.supersede(c, owner, id, None)
            elif what == "delete":
                preferences.delete(c, owner, id)
            else:
                context_rows.add(c, owner, id, feedback_id=None, text=text, embedder="e", vector=unit(1, 2))

        refused: type[AttuneError] | None = None
        if owner != whose:
            refused = NotFound
        elif (what in ("correct", "lock") and status != "active") or (what == "supersede" and locked):
            refused = Conflict
        if refused is not None:
            with pytest.raises(refused):
                self.database.write_now(apply)
            return
        self.database.write_now(apply)
        theirs.revision += 1
        if what == "delete":
            del theirs.preferences[id], theirs.contexts[id]
        elif what == "context":
            theirs.contexts[id].append(text)
        else:
            theirs.preferences[id] = (
                text if what == "correct" else held,
                "superseded" if what == "supersede" else status,
                locked or what == "lock",
            )

    @rule(owner=owners)
    def queue_version(self, owner: Owner) -> None:
        self.last = owner
        expected = self.model.get(owner)
        if expected is None or set(expected.versions.values()) & set(UNFINISHED):
            with pytest.raises(NotFound if expected is None else Conflict):
                self.database.write_now(versions.queue, owner)
            return
        number = self.database.write_now(versions.queue, owner)
        assert number == len(expected.versions) + 1
        expected.versions[number] = "queued"
        expected.jobs.append(("train", str(number), "queued"))

    @rule(owner=owners, number=st.integers(1, 2), state=st.sampled_from(["ready", "refused", "deleted"]))
    def end_version(self, owner: Owner, number: int, state: Any) -> None:
        self.last = owner
        expected = self.model.get(owner)
        change = (versions.delete, owner, number) if state == "deleted" else (versions.set_state, owner, number, state)
        if expected is None or expected.versions.get(number, "deleted") == "deleted":
            with pytest.raises(NotFound):
                self.database.write_now(*change)
            return
        self.database.write_now(*change)
        expected.versions[number] = state
        if state == "deleted" and expected.adapter == number:
            expected.adapter, expected.revision = 0, expected.revision + 1

    @rule(kind=st.sampled_from(["learn", "train"]))
    def lease(self, kind: str) -> None:
        job = self.database.write_now(jobs.lease, [kind], 1000)
        due = {owner: first for owner, expected in self.model.items() if (first := expected.due(kind)) is not None}
        assert (job is None) == (not due)
        if job is not None:
            assert (job.kind, job.subject, "queued") == due[job.owner]
            self.last = job.owner
            self.leased.append(job)
            queued = self.model[job.owner].jobs
            queued[queued.index(due[job.owner])] = (job.kind, job.subject, "running")

    @rule(what=st.sampled_from([jobs.finish, jobs.release]), data=st.data())
    def end_job(self, what: Any, data: st.DataObject) -> None:
        if not self.leased:
            return
        job = self.leased.pop(data.draw(st.integers(0, len(self.leased) - 1)))
        self.last = job.owner
        self.database.write_now(what, job)
        queued = self.model[job.owner].jobs
        state = "done" if what is jobs.finish else "queued"
        queued[queued.index((job.kind, job.subject, "running"))] = (job.kind, job.subject, state)

    @rule(owner=owners)
    def make_key(self, owner: Owner) -> None:
        id, plain = self.database.write_now(keys.create, owner.tenant, "test")
        self.api_keys[plain] = (id, owner.tenant)

    @rule(data=st.data())
    def revoke_key(self, data: st.DataObject) -> None:
        if self.api_keys:
            plain = data.draw(st.sampled_from(list(self.api_keys)))
            self.database.write_now(keys.revoke, self.api_keys.pop(plain)[0])
            assert self.database.read_now(keys.find, plain) is None

    @rule(owner=owners)
    def look(self, owner: Owner) -> None:
        self.last = owner

    @invariant()
    def every_row_is_whose_it_should_be(self) -> None:
        assert self.database.read_now(rows) == self.model
        found = {plain: self.database.read_now(keys.find, plain) for plain in self.api_keys}
        assert {plain: key and (key.id, key.tenant) for plain, key in found.items()} == self.api_keys

    @invariant()
    def who_was_touched_and_who_is_alike_read_their_own(self) -> None:
        for owner in (self.last, ALIKE[(MANY.index(self.last) + 1) % len(ALIKE)]):
            expected = self.model.get(owner)
            assert self.database.read_now(stored, owner) == (expected and replace(expected, keys={}, jobs=[]))
            self.recalls_their_own(owner)
        assert self.database.read_now(erasures.among, self.erased | {secrets.token_hex(16)}) == self.erased

    def recalls_their_own(self, owner: Owner) -> None:
        user = self.database.read_now(users.get, owner)
        if user is None:
            return
        expected = self.model[owner]
        assert self.database.read_now(users.named, user.opaque_id) == user
        found = asyncio.run(self.recall.recall(user, "Write to Sam", k=50))
        held = {id: text for id, (text, status, _) in expected.preferences.items() if status == "active"}
        everywhere = {held[id] for id in held if not expected.contexts[id]}  # a text is told once
        assert everywhere <= {one.text for one in found} <= set(held.values())
        assert {one.id for one in found} <= set(held)


def rows(c: Connection) -> dict[Owner, Expected]:
    """Every owner's rows in the model's terms, read past the row functions."""
    found: dict[Owner, Expected] = {}
    for row, owner in _of(c, tables.users):
        values = tuple(Value.model_validate(value) for value in row["standing_values"])
        found[owner] = Expected(row["revision"], row["opaque_id"], values, row["active_adapter"])
    for row, owner in _of(c, tables.turns):
        found[owner].turns[row["completion_id"]] = row["answers"][0]
    for row, owner in _of(c, tables.feedback):
        found[owner].feedback[row["id"]] = (row["completion_id"], row["edited_text"], row["status"])
        if row["idempotency_key"]:
            found[owner].keys[row["idempotency_key"]] = row["id"]
    for row, owner in _of(c, tables.preferences):
        found[owner].preferences[row["id"]] = (row["text"], row["status"], row["locked"])
        found[owner].contexts[row["id"]] = []
    for row, owner in _of(c, tables.contexts):
        found[owner].contexts[row["preference_id"]].append(row["text"])
    for row, owner in _of(c, tables.jobs):
        found[owner].jobs.append((row["kind"], row["subject"], row["state"]))
    for row, owner in _of(c, tables.adapters):
        found[owner].versions[row["version"]] = row["state"]
    return found


def _of(c: Connection, table: Table) -> list[tuple[RowMapping, Owner]]:
    """All rows, oldest first, with their owners."""
    found = c.execute(select(table).order_by(table.c.created_at)).mappings()
    return [(row, Owner(row["tenant_id"], row["user_id"])) for row in found]


def stored(c: Connection, owner: Owner) -> Expected | None:
    """What the row functions give about ``owner``, in the model's terms; keys and jobs, which none gives, by rows."""
    user = users.get(c, owner)
    if user is None:
        for read in (turns.page, feedback.page, edit_rows.edits, preferences.all_of, versions.all_of):
            assert not read(c, owner)
        assert not context_rows.by_embedder(c, owner, "e")
        return None
    found = Expected(user.revision, user.opaque_id, user.standing_values, user.active_adapter)
    found.turns = {one.completion_id: one.answers[0] for one in turns.page(c, owner)}
    found.feedback = {f.id: (f.completion_id, f.edited_text, f.status) for f in feedback.page(c, owner)}
    found.preferences = {p.id: (p.text, p.status, p.locked) for p in preferences.all_of(c, owner)}
    found.contexts = {id: [one.text for one in context_rows.of(c, owner, id)] for id in found.preferences}
    found.versions = {one.version: one.state for one in versions.all_of(c, owner)}
    alive = [id for id in found.preferences if found.preferences[id][1] == "active"]
    recalled = sorted(one.text for one in context_rows.by_embedder(c, owner, "e"))
    assert recalled == sorted(text for id in alive for text in found.contexts[id])
    assert {p.id for p in preferences.active(c, owner)} == set(alive)
    standing = [id for id, (_, _, status) in found.feedback.items() if status != "replaced"]
    assert [edit.feedback_id for edit in edit_rows.edits(c, owner)] == standing
    assert all(edit.draft == found.turns[edit.turn.completion_id] for edit in edit_rows.edits(c, owner))
    assert edit_rows.count_since(c, owner, 0.0) == len(standing)
    assert versions.next_number(c, owner) == len(found.versions) + 1
    serving = found.versions.get(user.active_adapter) == "ready"
    if user.active_adapter in (0, *found.versions):
        active = versions.active(c, owner)
        assert (active and active.version) == (user.active_adapter if serving else None)
    return found


def test_owners_never_see_or_change_each_others_rows(database: Database) -> None:
    class OnThisStore(Storage):
        pass

    OnThisStore.database = database
    run_state_machine_as_test(
        OnThisStore,
        settings=settings(
            max_examples=8,
            stateful_step_count=40,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_nobody_learns_from_the_store_who_else_is_there(database: Database) -> None:
    """The same script, with the same ids everywhere, leaves each owner the log that it leaves somebody alone."""
    (alone,) = play(database, prepare(database, [Owner("alone", "alone")]))
    owners = [*ALIKE, *MANY[-4:]]
    assert len(play(database, prepare(database, owners), alone)) == len(owners)


def test_the_owners_are_many() -> None:
    tenants = defaultdict(list)
    for owner in MANY:
        tenants[owner.tenant].append(owner.user)
    assert len(tenants) >= 50
    assert len(set(MANY)) == len(MANY)
    assert len({owner.tenant + owner.user for owner in MANY}) < len(MANY)
