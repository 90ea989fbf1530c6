"""Isolation: random operations of several owners, compared with one plain model for each of them."""

from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy import Connection, select

from preference import feedback, jobs, preferences, turns, users
from preference.database import Database
from preference.errors import AttuneError, Conflict, NotFound
from preference.owner import Owner
from preference.rows import scope
from preference.tables import feedback as feedback_table
from preference.tables import jobs as jobs_table
from preference.values import Value
from tests.preference.helpers import turn, unit

# The same user under two tenants; a tenant and a user whose names run together alike; names equal but for case.
OWNERS = [Owner("t", "u"), Owner("t2", "u"), Owner("t", "2u"), Owner("T", "u")]

owners = st.sampled_from(OWNERS)
completions = st.sampled_from(["c-1", "c-2", "c-3"])
texts = st.sampled_from(["short", "no greeting", "bullets, please", "%", "_"])


@dataclass
class Expected:
    """What one owner must have."""

    revision: int
    values: tuple[Value, ...] = ()
    adapter: int = 0
    turns: dict[str, str] = field(default_factory=dict)
    feedback: dict[str, tuple[str, str, str]] = field(default_factory=dict)  # completion, text, status
    keys: dict[str, str] = field(default_factory=dict)
    preferences: dict[str, tuple[str, str, bool]] = field(default_factory=dict)  # text, status, locked
    contexts: dict[str, list[str]] = field(default_factory=dict)
    jobs: list[str] = field(default_factory=list)


class Storage(RuleBasedStateMachine):
    """Runs each operation on the store and on the model; they must agree about every owner after every step."""

    database: Database

    def __init__(self) -> None:
        super().__init__()
        self.model: dict[Owner, Expected] = {}

    @initialize()
    def begin_anew(self) -> None:
        def anew(c: Connection) -> None:
            for owner in OWNERS:
                users.delete(c, owner)
                self.model[owner] = Expected(users.ensure(c, owner).revision)
                for completion_id in ("c-1", "c-2"):
                    turns.record(c, owner, turn(completion_id, 1.0, "draft"))
                    self.model[owner].turns[completion_id] = "draft"

        self.database.write_now(anew)

    @rule(owner=owners)
    def ensure(self, owner: Owner) -> None:
        user = self.database.write_now(users.ensure, owner)
        self.model.setdefault(owner, Expected(user.revision))

    @rule(owner=owners)
    def delete_user(self, owner: Owner) -> None:
        assert self.database.write_now(users.delete, owner) == (self.model.pop(owner, None) is not None)

    @rule(owner=owners, text=texts, adapter=st.integers(0, 3))
    def settle(self, owner: Owner, text: str, adapter: int) -> None:
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
        expected = self.model.get(owner)
        if expected is None or completion_id in expected.turns:
            with pytest.raises(NotFound if expected is None else Conflict):
                self.database.write_now(turns.record, owner, turn(completion_id, 1.0, answer))
            return
        self.database.write_now(turns.record, owner, turn(completion_id, 1.0, answer))
        expected.turns[completion_id] = answer

    @rule(owner=owners, completion_id=completions, text=texts, key=st.sampled_from([None, "k-1", "k-2"]))
    def edit(self, owner: Owner, completion_id: str, text: str, key: str | None) -> None:
        def accept() -> feedback.Feedback:
            return self.database.write_now(
                feedback.accept,
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
            with pytest.raises(Conflict):
                accept()
        elif known is not None:
            assert accept().id == known
        else:
            id = accept().id
            for earlier, (of, was, _) in expected.feedback.items():
                if of == completion_id:
                    expected.feedback[earlier] = (of, was, "replaced")
            expected.feedback[id] = (completion_id, text, "pending")
            expected.jobs.append(id)
            if key:
                expected.keys[key] = id

    @rule(owner=owners, whose=owners, data=st.data())
    def resolve(self, owner: Owner, whose: Owner, data: st.DataObject) -> None:
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
                preferences.add_context(c, owner, id, feedback_id=None, text=text, embedder="e", vector=unit(1, 2))

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

    @rule()
    def work(self) -> None:
        job = self.database.write_now(jobs.lease, ["learn"], 60)
        due = {owner: expected.jobs[0] for owner, expected in self.model.items() if expected.jobs}
        assert (job is None) == (not due)
        if job is not None:
            assert job.subject == due[job.owner]
            self.database.write_now(jobs.finish, job)
            self.model[job.owner].jobs.pop(0)

    @invariant()
    def everybody_has_their_own(self) -> None:
        found = self.database.read_now(lambda c: {owner: stored(c, owner) for owner in OWNERS})
        assert found == {owner: self.model.get(owner) for owner in OWNERS}


def stored(c: Connection, owner: Owner) -> Expected | None:
    """Everything the row functions give about ``owner``, in the model's terms; ``keys`` and ``jobs`` by their table."""
    user = users.get(c, owner)
    if user is None:
        assert not turns.page(c, owner)
        assert not feedback.page(c, owner)
        assert not preferences.all_of(c, owner)
        assert not preferences.contexts(c, owner, "e")
        return None
    found = Expected(user.revision, user.standing_values, user.active_adapter)
    found.turns = {one.completion_id: one.answers[0] for one in turns.page(c, owner)}
    found.feedback = {f.id: (f.completion_id, f.edited_text, f.status) for f in feedback.page(c, owner)}
    found.keys = {
        row.idempotency_key: row.id
        for row in c.execute(select(feedback_table).where(scope(feedback_table, owner)))
        if row.idempotency_key
    }
    found.preferences = {p.id: (p.text, p.status, p.locked) for p in preferences.all_of(c, owner)}
    found.contexts = {id: [one.text for one in preferences.contexts_of(c, owner, id)] for id in found.preferences}
    queued = select(jobs_table).where(scope(jobs_table, owner), jobs_table.c.state == "queued")
    found.jobs = [row.subject for row in c.execute(queued.order_by(jobs_table.c.created_at))]
    alive = [id for id in found.preferences if found.preferences[id][1] == "active"]
    recalled = sorted(one.text for one in preferences.contexts(c, owner, "e"))
    assert recalled == sorted(text for id in alive for text in found.contexts[id])
    assert {p.id for p in preferences.active(c, owner)} == set(alive)
    standing = [id for id, (_, _, status) in found.feedback.items() if status != "replaced"]
    assert [edit.feedback_id for edit in feedback.edits(c, owner)] == standing
    assert all(edit.draft == found.turns[edit.turn.completion_id] for edit in feedback.edits(c, owner))
    return found


def test_owners_never_see_or_change_each_others_rows(database: Database) -> None:
    class OnThisStore(Storage):
        pass

    OnThisStore.database = database
    run_state_machine_as_test(
        OnThisStore,
        settings=settings(
            max_examples=8,
            stateful_step_count=30,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
