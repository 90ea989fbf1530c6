"""An erased edit or thumb takes the versions that learned from it along, and trains anew what is missing."""

import pytest
from sqlalchemy import Connection, update

from adapters.lifecycle import activation, versions
from adapters.lifecycle.activation import Policy
from preference.feedback import edit_rows
from store import jobs, turns, users
from store.database import Database
from store.errors import NotFound
from store.tables import adapters as adapters_table
from store.users import User
from tests.adapters.fakes import make_turn
from tests.adapters.lifecycle.test_activation import ANN, TRYING, made, user
from tests.preference.helpers import submit


class Edits:
    """Ann's edits, and versions that learned from them."""

    def __init__(self, database: Database, edits: int) -> None:
        self.database = database
        self.ids = [self.edit(number) for number in range(edits)]

    def edit(self, number: int) -> str:
        def rows(c: Connection) -> str:
            users.ensure(c, ANN)
            turns.record(c, ANN, make_turn(number))
            return submit(c, ANN, completion_id=f"c-{number}", edited_text=f"edited {number}", body_sha256="x").id

        return self.database.write_now(rows)

    def version(self, *edits: int, policy: Policy | None = None) -> int:
        """A ready version that learned from these edits, serving as the policy says."""

        def rows(c: Connection) -> int:
            number = made(c, policy or Policy())
            versions.set_state(c, ANN, number, "ready", learned_from=[self.ids[edit] for edit in edits])
            return number

        return self.database.write_now(rows)

    def erase(self, edit: int, policy: Policy | None = None) -> activation.Erased:
        return self.database.write_now(activation.erase_feedback, ANN, self.ids[edit], policy or Policy())

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
    assert len(database.read_now(edit_rows.edits, ANN)) == 11
    with pytest.raises(NotFound):
        world.erase(2)


def test_an_erased_thumb_takes_the_versions_that_learned_from_it_along(database: Database) -> None:
    world = Edits(database, 12)
    world.version(0)
    thumb = database.write_now(lambda c: submit(c, ANN, completion_id="c-2", thumb="down", body_sha256="x"))
    world.ids.append(thumb.id)
    world.version(0, 12)
    erased = world.erase(12)
    assert (erased.dropped, erased.stopped, erased.queued) == ([2], [], 3)
    assert (world.user.active_adapter, world.states) == (1, ["ready", "retired", "queued"])
    assert len(database.read_now(edit_rows.edits, ANN)) == 12
    assert database.read_now(edit_rows.thumbs, ANN) == []


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
    database.write_now(activation.choose, ANN, 2, pinned=True)
    assert world.erase(1, policy).dropped == []
    assert world.erase(2, policy).dropped == []
    assert (world.user.active_adapter, world.states) == (2, ["ready", "ready", "queued"])
    assert database.read_now(versions.get, ANN, 2).report["erased_edits"] == 1
    before = database.write_now(activation.incumbent, ANN)
    assert before is not None
    assert before.version == 1, "the next one has to be better than what would serve"

    def publish(c: Connection) -> None:
        versions.set_state(c, ANN, 3, "ready", report={})
        activation.settle(c, ANN)
        activation.admit(c, ANN, 3, policy)

    database.write_now(publish)
    found = world.user
    assert (found.active_adapter, found.canary_adapter, found.pinned) == (1, 3, False)
    assert world.states == ["ready", "retired", "ready"]


@pytest.mark.parametrize("end", ["refused", "failed", "deleted"])
def test_what_is_marked_goes_when_there_is_nothing_better(database: Database, end: versions.State) -> None:
    world = Edits(database, 12)
    world.version(0)
    assert world.erase(0, Policy(erased_edits="retrain")).queued == 2
    database.write_now(activation.settle, ANN)
    assert world.user.active_adapter == 1
    database.write_now(versions.set_state, ANN, 2, end)
    database.write_now(activation.settle, ANN)
    assert (world.user.active_adapter, world.states) == (0, ["retired", end])
