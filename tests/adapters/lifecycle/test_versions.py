import pytest

from adapters.lifecycle import versions
from store import jobs, turns, users
from store.database import Database
from store.errors import Conflict, NotFound
from store.owner import Owner
from tests.adapters.fakes import make_turn
from tests.preference.helpers import submit

ANN, BEN = Owner("acme", "ann"), Owner("acme", "ben")


async def edit(database: Database, owner: Owner, number: int) -> None:
    await database.write(users.ensure, owner)
    await database.write(turns.record, owner, make_turn(number))
    await database.write(submit, owner, completion_id=f"c-{number}", edited_text=f"edited {number}", body_sha256="x")


async def test_a_queued_version_has_its_job(database: Database) -> None:
    await database.write(users.ensure, ANN)
    assert await database.write(versions.queue, ANN) == 1
    version = await database.read(versions.get, ANN, 1)
    assert (version.state, version.learned_through) == ("queued", 0.0)
    assert version.report["notice"] == "0 edits are too few to learn from: at least 8 are needed."
    job = await database.write(jobs.lease, ["train"], 60)
    assert job is not None
    assert (job.owner, job.kind, job.subject) == (ANN, "train", "1")


async def test_one_at_a_time_and_numbers_are_never_used_twice(database: Database) -> None:
    for owner in (ANN, BEN):
        await database.write(users.ensure, owner)
    await database.write(versions.queue, ANN)
    with pytest.raises(Conflict, match="version 1 is already being made"):
        await database.write(versions.queue, ANN)
    assert await database.write(versions.queue, BEN) == 1
    await database.write(versions.delete, ANN, 1)
    assert await database.write(versions.queue, ANN) == 2
    assert [v.state for v in await database.read(versions.all_of, ANN)] == ["deleted", "queued"]


async def test_without_the_user_nothing_is_queued(database: Database) -> None:
    with pytest.raises(NotFound):
        await database.write(versions.queue, ANN)
    assert await database.write(versions.queue_if_due, ANN, 1) is None


async def test_due_when_enough_new_edits_came(database: Database) -> None:
    for number in range(3):
        assert await database.write(versions.queue_if_due, ANN, 3) is None
        await edit(database, ANN, number)
    await edit(database, BEN, 99)
    assert await database.write(versions.queue_if_due, BEN, 3) is None
    assert await database.write(versions.queue_if_due, ANN, 3) == 1
    assert await database.write(versions.queue_if_due, ANN, 1) is None
    await database.write(versions.set_state, ANN, 1, "refused", report={"sentence": "refused: …"})
    assert await database.write(versions.queue_if_due, ANN, 3) is None
    for number in range(3, 6):
        await edit(database, ANN, number)
    await database.write(versions.delete, ANN, 1)
    assert await database.write(versions.queue_if_due, ANN, 4) is None
    assert await database.write(versions.queue_if_due, ANN, 3) == 2


async def test_states_change_and_a_deleted_version_stays_deleted(database: Database) -> None:
    await database.write(users.ensure, ANN)
    await database.write(versions.queue, ANN)
    assert await database.read(versions.learned_through, ANN) == 0.0
    await database.write(
        versions.set_state, ANN, 1, "ready", mode="retrieval+adapter", learned_through=5.0, report={"a": 1}
    )
    version = await database.read(versions.get, ANN, 1)
    assert (version.state, version.mode, version.report) == ("ready", "retrieval+adapter", {"a": 1})
    assert await database.read(versions.learned_through, ANN) == 5.0
    await database.write(versions.delete, ANN, 1)
    assert (await database.read(versions.get, ANN, 1)).report == {}
    with pytest.raises(NotFound):
        await database.write(versions.set_state, ANN, 1, "ready")
    with pytest.raises(NotFound):
        await database.write(versions.delete, ANN, 1)


async def test_versions_of_another_user_do_not_exist(database: Database) -> None:
    for owner in (ANN, BEN):
        await database.write(users.ensure, owner)
    await database.write(versions.queue, ANN)
    for function in (versions.get, versions.delete):
        with pytest.raises(NotFound):
            await database.write(function, BEN, 1)
    assert await database.read(versions.all_of, BEN) == []
    assert (await database.read(versions.get, ANN, 1)).state == "queued"


async def test_deleting_the_active_version_serves_the_base_model(database: Database) -> None:
    await database.write(users.ensure, ANN)
    await database.write(versions.queue, ANN)
    await database.write(versions.set_state, ANN, 1, "ready")
    await database.write(users.set_active_adapter, ANN, 1)
    active = await database.read(versions.active, ANN)
    assert active is not None
    assert active.version == 1
    await database.write(versions.delete, ANN, 1)
    user = await database.read(users.get, ANN)
    assert user is not None
    assert user.active_adapter == 0
    assert await database.read(versions.active, ANN) is None
