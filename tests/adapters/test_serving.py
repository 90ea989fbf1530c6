"""Which versions serve: whatever is done by hand and by itself, in whatever order."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from sqlalchemy import Connection, select, update

from adapters import serving, versions
from adapters.serving import Policy
from preference import feedback, jobs, turns, users
from preference.database import Database
from preference.errors import AttuneError, Conflict, NotFound
from preference.owner import Owner
from preference.tables import adapters as adapters_table
from preference.tables import jobs as jobs_table
from preference.users import User
from tests.adapters.fakes import make_turn

ANN = Owner("acme", "ann")
TRYING = Policy(canary_share=0.25, canary_days=2)


def made(c: Connection, policy: Policy, owner: Owner = ANN) -> int:
    """A version as training makes one that the gate admits."""
    users.ensure(c, owner)
    number = versions.queue(c, owner)
    jobs.cancel(c, owner, "train", str(number))
    versions.set_state(c, owner, number, "ready", learned_from=[f"fb-{number}"], report={"verdict": "admitted"})
    serving.admit(c, owner, number, policy)
    return number


def user(c: Connection) -> User:
    return versions.lock_user(c, ANN)


def due(c: Connection) -> list[float]:
    """When trials are judged, that nothing hastens."""
    waiting = (jobs_table.c.kind == "canary", jobs_table.c.state == "queued")
    return list(c.execute(select(jobs_table.c.run_after).where(*waiting)).scalars())


Play = Callable[..., Any]


@pytest.fixture
def play(database: Database) -> Play:
    """A function on rows, in a transaction of its own."""
    database.write_now(users.ensure, ANN)
    return database.write_now


def test_an_admitted_version_serves_at_once(play: Play) -> None:
    began = time.time()
    assert play(made, Policy()) == 1
    assert (play(user).active_adapter, play(user).canary_adapter) == (1, 0)
    assert (play(versions.get, ANN, 1).activated_at or 0) >= began


def test_with_a_share_it_is_tried_first(play: Play) -> None:
    play(made, Policy())
    play(made, TRYING)
    found = play(user)
    assert (found.active_adapter, found.canary_adapter, found.canary_share) == (1, 2, 0.25)
    noted = play(versions.get, ANN, 2).report
    assert noted["verdict"] == "admitted"
    assert noted["canary"]["against"] == 1
    assert noted["canary"]["until"] - noted["canary"]["since"] == 2 * serving.DAY
    assert play(jobs.under_way, ANN, "canary") == {"2"}
    assert play(versions.get, ANN, 2).activated_at is None
    active, canary = play(versions.serving, ANN)
    assert (active.version, canary.version) == (1, 2)


def test_a_share_may_be_a_tenants_own() -> None:
    policy = Policy(canary_share=0.5, tenant_canary_shares={"acme": 0.0})
    assert (policy.share_of(ANN), policy.share_of(Owner("other", "ann"))) == (0.0, 0.5)


def test_a_pinned_version_is_replaced_by_nobody(play: Play) -> None:
    play(made, Policy())
    play(serving.choose, ANN, 1, pinned=True)
    for policy in (Policy(), TRYING):
        play(made, policy)
    assert (play(user).active_adapter, play(user).canary_adapter, play(user).pinned) == (1, 0, True)
    for refused in (lambda c: serving.choose(c, ANN, 2), lambda c: serving.choose(c, ANN, 0),
                    lambda c: serving.roll_back(c, ANN), lambda c: serving.try_out(c, ANN, 2, 0.5, TRYING),
                    lambda c: serving.retire(c, ANN, 1)):  # fmt: skip
        with pytest.raises(Conflict):
            play(refused)
    play(serving.choose, ANN, 1)
    assert play(user).pinned, "it was active already"
    assert play(versions.queue_if_due, ANN, 0) is None, "edits wait while a version is pinned"
    with pytest.raises(Conflict):
        play(serving.unpin, ANN, 2)
    play(serving.unpin, ANN, 1)
    assert play(serving.choose, ANN, 2)[0].active_adapter == 1
    assert play(user).active_adapter == 2


def test_the_base_model_can_be_pinned(play: Play) -> None:
    play(serving.choose, ANN, 0, pinned=True)
    play(made, Policy())
    assert (play(user).active_adapter, play(user).pinned) == (0, True)


def test_a_deleted_version_is_not_pinned_any_more(play: Play) -> None:
    play(made, Policy())
    play(serving.choose, ANN, 1, pinned=True)
    play(versions.delete, ANN, 1)
    assert (play(user).active_adapter, play(user).pinned) == (0, False)


def test_rolling_back_goes_further_back_each_time(play: Play) -> None:
    for _ in range(3):
        play(made, Policy())
    play(made, TRYING)
    assert [play(serving.roll_back, ANN)[1].version for _ in range(3)] == [3, 2, 1]
    assert play(serving.roll_back, ANN)[1] is None
    with pytest.raises(Conflict, match="nothing to go back to"):
        play(serving.roll_back, ANN)


def test_nobody_goes_back_to_what_was_never_active(play: Play) -> None:
    play(made, Policy())
    play(made, TRYING)
    play(serving.roll_back, ANN)
    play(made, Policy())
    assert play(serving.roll_back, ANN)[1].version == 1


def test_a_change_is_taken_back_unless_there_was_another(play: Play) -> None:
    play(made, Policy())
    play(made, TRYING)
    before, active, canary = play(serving.choose, ANN, 2)
    play(serving.take_back, before, active, canary)
    assert play(user) == User(**{**vars(before), "revision": play(user).revision})
    before, active, canary = play(serving.choose, ANN, 2)
    play(serving.choose, ANN, 1)
    play(serving.take_back, before, active, canary)
    assert (play(user).active_adapter, play(user).canary_adapter) == (1, 0)


def test_what_was_taken_back_was_never_active(play: Play) -> None:
    play(made, Policy())
    play(made, TRYING)
    play(serving.roll_back, ANN)
    play(made, Policy())
    play(serving.take_back, *play(serving.choose, ANN, 2))
    assert play(versions.get, ANN, 2).activated_at is None
    assert play(serving.roll_back, ANN)[1].version == 1


def test_a_trial_that_could_not_begin_leaves_the_one_before_it(play: Play) -> None:
    play(made, Policy())
    play(made, Policy())
    play(made, TRYING)
    before, until = play(versions.all_of, ANN), play(versions.get, ANN, 3).report["canary"]["until"]
    for change in (lambda c: serving.try_out(c, ANN, 1, 0.5, TRYING), lambda c: serving.choose(c, ANN, 1)):
        play(serving.take_back, *play(change))
        assert (play(user).active_adapter, play(user).canary_adapter, play(user).canary_share) == (2, 3, 0.25)
        assert [vars(v) | {"updated_at": 0} for v in play(versions.all_of, ANN)] == [
            vars(v) | {"updated_at": 0} for v in before
        ]
        assert play(jobs.under_way, ANN, "canary") == {"3"}
        assert play(due) == [until]


def test_what_was_deleted_meanwhile_does_not_come_back_with_what_is_taken_back(play: Play) -> None:
    play(made, Policy())
    play(made, TRYING)
    play(made, Policy(canary_share=1e-9))
    play(serving.roll_back, ANN)
    play(lambda c: serving.try_out(c, ANN, 2, 0.25, TRYING))
    changed = play(lambda c: serving.try_out(c, ANN, 3, 0.5, TRYING))
    play(versions.delete, ANN, 2)
    play(serving.take_back, *changed)
    assert (play(user).active_adapter, play(user).canary_adapter, play(user).canary_share) == (1, 0, 0.0)
    changed = play(lambda c: serving.choose(c, ANN, 3))
    play(versions.delete, ANN, 1)
    play(serving.take_back, *changed)
    assert (play(user).active_adapter, play(user).canary_adapter) == (0, 0)


def test_a_retired_version_keeps_its_row_and_serves_never_again(play: Play) -> None:
    for _ in range(2):
        play(made, Policy())
    play(serving.retire, ANN, 1)
    retired = play(versions.get, ANN, 1)
    assert (retired.state, retired.report) == ("retired", {"verdict": "admitted", "retired": "retired by hand"})
    with pytest.raises(Conflict, match="is retired, not ready"):
        play(serving.choose, ANN, 1)
    with pytest.raises(NotFound):
        play(versions.set_state, ANN, 1, "ready")
    with pytest.raises(Conflict, match="serves the user"):
        play(serving.retire, ANN, 2)
    assert play(versions.learned_from, ANN) == {2: frozenset({"fb-2"})}
    play(versions.delete, ANN, 1)


def test_the_oldest_that_do_not_serve_make_room(play: Play) -> None:
    policy = Policy(kept=3)
    for _ in range(2):
        play(made, policy)
    play(serving.choose, ANN, 1, pinned=True)
    for _ in range(3):
        play(made, policy)
    assert [v.state for v in play(versions.all_of, ANN)] == ["ready", "retired", "retired", "ready", "ready"]


def test_another_canary_takes_the_place(play: Play) -> None:
    for _ in range(3):
        play(made, TRYING)
    assert (play(user).active_adapter, play(user).canary_adapter) == (0, 3)
    play(serving.try_out, ANN, 2, 1.0, TRYING)
    assert (play(user).canary_adapter, play(user).canary_share) == (2, 1.0)
    play(versions.delete, ANN, 2)
    assert play(user).canary_adapter == 0


class Histories(RuleBasedStateMachine):
    """Everything that may happen to one user's versions."""

    database: Database

    def __init__(self) -> None:
        super().__init__()
        self.write(users.ensure)
        self.numbers: list[int] = []
        self.gone: dict[int, str] = {}
        self.pin: int | None = None

    def write(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return self.database.write_now(lambda c: fn(c, ANN, *args, **kwargs))

    def teardown(self) -> None:
        self.write(users.delete)

    def attempt(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> bool:
        try:
            self.write(fn, *args, **kwargs)
        except AttuneError:
            return False
        return True

    @rule(share=st.sampled_from([0.0, 0.3]), kept=st.integers(2, 4))
    def train(self, share: float, kept: int) -> None:
        number = self.write(lambda c, _: made(c, Policy(canary_share=share, kept=kept)))
        assert number not in self.numbers, "a number is never used twice"
        self.numbers.append(number)

    @precondition(lambda self: self.numbers)
    @rule(data=st.data(), pinned=st.booleans())
    def choose(self, data: Any, pinned: bool) -> None:
        number = data.draw(st.sampled_from([0, *self.numbers]))
        if self.attempt(serving.choose, number, pinned=pinned):
            assert self.pin in (None, number), "a pinned version is replaced by nobody"
            assert number not in self.gone
            self.pin = number if pinned else self.pin

    @rule()
    def roll_back(self) -> None:
        assert not (self.attempt(serving.roll_back) and self.pin is not None)

    @precondition(lambda self: self.pin is not None)
    @rule()
    def unpin(self) -> None:
        assert self.attempt(serving.unpin, self.pin)
        self.pin = None

    @precondition(lambda self: self.numbers)
    @rule(data=st.data(), what=st.sampled_from(["try", "retire", "delete"]))
    def act(self, data: Any, what: str) -> None:
        number = data.draw(st.sampled_from(self.numbers))
        if what == "try":
            done = self.attempt(serving.try_out, number, 0.5, Policy())
            assert not (done and (self.pin is not None or number in self.gone))
        elif what == "retire" and self.attempt(serving.retire, number):
            assert number != self.pin
        elif what == "delete" and self.attempt(versions.delete, number):
            self.pin = None if self.pin == number else self.pin

    @invariant()
    def holds(self) -> None:
        held = {version.version: version for version in self.write(versions.all_of)}
        found = self.write(lambda c, _: user(c))
        assert sorted(held) == self.numbers
        for number in {found.active_adapter, found.canary_adapter} - {0}:
            assert held[number].state == "ready", "what serves is there"
        assert found.active_adapter != found.canary_adapter or not found.canary_adapter
        assert (found.canary_share > 0) == (found.canary_adapter > 0)
        assert found.pinned == (self.pin is not None)
        if self.pin is not None:
            assert (found.active_adapter, found.canary_adapter) == (self.pin, 0)
        for number, state in self.gone.items():
            assert held[number].state in (state, "deleted"), "nobody comes back"
        self.gone = {n: v.state for n, v in held.items() if v.state in ("retired", "deleted")}


@pytest.fixture
def rows(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path}/attune.db")
    database.migrate()
    yield database
    database.close()


def test_any_history_leaves_one_active_version_that_is_there(rows: Database) -> None:
    class OnRows(Histories):
        database = rows

    quick = settings(max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(OnRows, settings=quick)


class Edits:
    """Ann's edits, and versions that learned from them."""

    def __init__(self, database: Database, edits: int) -> None:
        self.database = database
        self.ids = [self.edit(number) for number in range(edits)]

    def edit(self, number: int) -> str:
        def rows(c: Connection) -> str:
            users.ensure(c, ANN)
            turns.record(c, ANN, make_turn(number))
            return feedback.accept(
                c, ANN, completion_id=f"c-{number}", edited_text=f"edited {number}", body_sha256="x"
            ).id

        return self.database.write_now(rows)

    def version(self, *edits: int, policy: Policy | None = None) -> int:
        """A ready version that learned from these edits, serving as the policy says."""

        def rows(c: Connection) -> int:
            number = made(c, policy or Policy())
            versions.set_state(c, ANN, number, "ready", learned_from=[self.ids[edit] for edit in edits])
            return number

        return self.database.write_now(rows)

    def erase(self, edit: int, policy: Policy | None = None) -> serving.Erased:
        return self.database.write_now(serving.erase_feedback, ANN, self.ids[edit], policy or Policy())

    @property
    def states(self) -> list[str]:
        return [version.state for version in self.database.read_now(versions.all_of, ANN)]

    @property
    def user(self) -> User:
        return self.database.write_now(user)


def test_an_erased_edit_takes_the_versions_that_learned_from_it_along(database: Database) -> None:
    world = Edits(database, 12)
    world.version(0, 1)
    world.version(0, 1, 2)
    world.version(0, 1, 2, 3)
    erased = world.erase(2)
    assert (erased.dropped, erased.stopped, erased.queued) == ([2, 3], [], 4)
    assert world.states == ["ready", "retired", "retired", "queued"]
    assert (world.user.active_adapter, erased.user) == (1, world.user)
    assert "erased" in database.read_now(versions.get, ANN, 3).report["retired"]
    assert len(database.read_now(feedback.edits, ANN)) == 11
    with pytest.raises(NotFound):
        world.erase(2)


def test_an_erased_thumb_takes_the_versions_that_learned_from_it_along(database: Database) -> None:
    world = Edits(database, 12)
    world.version(0)
    thumb = database.write_now(lambda c: feedback.accept(c, ANN, completion_id="c-2", thumb="down", body_sha256="x"))
    world.ids.append(thumb.id)
    world.version(0, 12)
    erased = world.erase(12)
    assert (erased.dropped, erased.stopped, erased.queued) == ([2], [], 3)
    assert (world.user.active_adapter, world.states) == (1, ["ready", "retired", "queued"])
    assert len(database.read_now(feedback.edits, ANN)) == 12
    assert database.read_now(feedback.thumbs, ANN) == []


def test_where_nothing_serves_that_learned_from_it_nothing_is_trained(database: Database) -> None:
    world = Edits(database, 12)
    world.version(0)
    world.version(1)
    assert world.erase(5).queued is None
    erased = world.erase(0)
    assert (erased.dropped, erased.queued, world.user.active_adapter) == ([1], None, 2)


def test_too_few_edits_train_nothing(database: Database) -> None:
    world = Edits(database, 8)
    world.version(0)
    assert world.erase(0).queued is None
    assert world.user.active_adapter == 0


def test_a_version_of_which_nobody_knows_goes_with_every_edit(database: Database) -> None:
    world = Edits(database, 3)
    number = world.version(0)
    everything = update(adapters_table).where(adapters_table.c.tenant_id == "acme")
    database.write_now(lambda c: c.execute(everything.values(learned_from=None)))
    assert world.erase(2).dropped == [number]


def test_a_canary_that_learned_from_it_is_over(database: Database) -> None:
    world = Edits(database, 12)
    world.version(0)
    world.version(1, policy=TRYING)
    erased = world.erase(1)
    assert (erased.dropped, erased.queued) == ([2], 3)
    assert (world.user.active_adapter, world.user.canary_adapter) == (1, 0)


def test_a_training_that_may_have_read_it_begins_anew(database: Database) -> None:
    world = Edits(database, 12)
    database.write_now(versions.queue, ANN)
    assert world.erase(0).queued is None, "it has read nothing yet"
    job = database.write_now(jobs.lease, ["train"], 60)
    assert job is not None
    database.write_now(versions.set_state, ANN, 1, "training")
    erased = world.erase(1)
    assert (erased.stopped, erased.queued, world.states) == ([1], 2, ["failed", "queued"])
    with pytest.raises(jobs.LostLease):
        database.write_now(jobs.hold, job)


def test_retraining_lets_the_active_one_serve_meanwhile(database: Database) -> None:
    world, policy = Edits(database, 12), Policy(erased_edits="retrain", canary_share=0.5)
    world.version(0)
    world.version(0, 1)
    database.write_now(serving.choose, ANN, 2, pinned=True)
    assert world.erase(1, policy).dropped == []
    assert world.erase(2, policy).dropped == []
    assert (world.user.active_adapter, world.states) == (2, ["ready", "ready", "queued"])
    assert database.read_now(versions.get, ANN, 2).report["erased_edits"] == 1
    before = database.write_now(serving.incumbent, ANN)
    assert before is not None
    assert before.version == 1, "the next one has to be better than what would serve"

    def publish(c: Connection) -> None:
        versions.set_state(c, ANN, 3, "ready", report={})
        serving.settle(c, ANN)
        serving.admit(c, ANN, 3, policy)

    database.write_now(publish)
    found = world.user
    assert (found.active_adapter, found.canary_adapter, found.pinned) == (1, 3, False)
    assert world.states == ["ready", "retired", "ready"]


@pytest.mark.parametrize("end", ["refused", "failed", "deleted"])
def test_what_is_marked_goes_when_there_is_nothing_better(database: Database, end: versions.State) -> None:
    world = Edits(database, 12)
    world.version(0)
    assert world.erase(0, Policy(erased_edits="retrain")).queued == 2
    database.write_now(serving.settle, ANN)
    assert world.user.active_adapter == 1
    database.write_now(versions.set_state, ANN, 2, end)
    database.write_now(serving.settle, ANN)
    assert (world.user.active_adapter, world.states) == (0, ["retired", end])
