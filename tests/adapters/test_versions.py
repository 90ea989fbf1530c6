import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
from adapter_fakes import make_turn

from adapters import versions
from adapters.versions import Directories, Manifest
from preference import feedback, jobs, turns, users
from preference.database import Database
from preference.errors import Conflict, NotFound
from preference.owner import Owner

ANN, BEN = Owner("acme", "ann"), Owner("acme", "ben")


async def edit(database: Database, owner: Owner, number: int) -> None:
    await database.write(users.ensure, owner)
    await database.write(turns.record, owner, make_turn(number))
    await database.write(
        feedback.accept, owner, completion_id=f"c-{number}", edited_text=f"edited {number}", body_sha256="x"
    )


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


def manifest(number: int = 1) -> Manifest:
    return Manifest(number, ["fb-1"], "sha", {"rank": 8}, {"loss_last": 0.1}, {"verdict": "admitted"}, 1.0)


def stage(directories: Directories, opaque_id: str, number: int, text: str = "weights") -> Path:
    made = directories.stage(opaque_id, number)
    (made / "adapter").mkdir()
    (made / "adapter" / "adapter_model.safetensors").write_text(text)
    return made


def test_a_publication_is_whole_and_its_manifest_reads_back(tmp_path: Path) -> None:
    directories = Directories(tmp_path / "adapters")
    staged = stage(directories, "u1", 1)
    final = directories.publish(staged / "adapter", "u1", manifest())
    assert final == directories.path("u1", 1)
    assert sorted(path.name for path in final.iterdir()) == ["adapter_model.safetensors", "manifest.json"]
    assert replace(directories.verified("u1", 1), files={}) == manifest()
    assert not (staged / "adapter").exists()


def test_without_a_manifest_nothing_is_published(tmp_path: Path) -> None:
    directories = Directories(tmp_path)
    directories.path("u1", 1).mkdir(parents=True)
    with pytest.raises(NotFound, match="no complete directory"):
        directories.manifest("u1", 1)
    (directories.path("u1", 1) / "manifest.json").write_text('{"version": 1}')
    with pytest.raises(NotFound):
        directories.manifest("u1", 1)


def test_what_a_crash_left_is_replaced(tmp_path: Path) -> None:
    directories = Directories(tmp_path)
    for text in ("old", "new"):
        directories.publish(stage(directories, "u1", 1, text) / "adapter", "u1", manifest())
    assert (directories.path("u1", 1) / "adapter_model.safetensors").read_text() == "new"


def test_staging_is_private_and_never_the_same_twice(tmp_path: Path) -> None:
    directories = Directories(tmp_path)
    first, second = directories.stage("u1", 1), directories.stage("u1", 1)
    assert first != second
    assert first.stat().st_mode & 0o077 == 0
    assert first.stat().st_dev == tmp_path.stat().st_dev


def test_erasure_takes_everything_of_one_user_alone(tmp_path: Path) -> None:
    directories = Directories(tmp_path)
    for opaque_id in ("u1", "u11"):
        directories.publish(stage(directories, opaque_id, 1) / "adapter", opaque_id, manifest())
        stage(directories, opaque_id, 2)
    directories.remove_all("u1")
    directories.remove_all("u1")
    left = {str(path.relative_to(tmp_path)).split("/")[-1][:4] for path in (tmp_path / ".staging").iterdir()}
    assert left == {"u11."}
    assert not (tmp_path / "u1").exists()
    assert replace(directories.verified("u11", 1), files={}) == manifest()


def test_one_version_can_be_removed(tmp_path: Path) -> None:
    directories = Directories(tmp_path)
    for number in (1, 2):
        directories.publish(stage(directories, "u1", number) / "adapter", "u1", manifest(number))
    directories.remove("u1", 1)
    directories.remove("u1", 1)
    with pytest.raises(NotFound):
        directories.manifest("u1", 1)
    assert replace(directories.verified("u1", 2), files={}) == manifest(2)


def test_directories_of_versions_that_are_not_ready_are_removed(database: Database, tmp_path: Path) -> None:
    directories = Directories(tmp_path)
    opaque_ids = {owner: database.write_now(users.ensure, owner).opaque_id for owner in (ANN, BEN)}
    for owner, opaque_id in opaque_ids.items():
        for number, state in enumerate(("ready", "refused", "deleted", "training"), 1):
            database.write_now(versions.queue, owner)
            database.write_now(versions.set_state, owner, number, state)
            directories.publish(stage(directories, opaque_id, number) / "adapter", opaque_id, manifest(number))
    assert sorted(directories.users()) == sorted(opaque_ids.values())
    assert database.write_now(versions.remove_stranded, ANN, directories) == [2, 3, 4]
    assert directories.published(opaque_ids[ANN]) == {1}
    assert directories.published(opaque_ids[BEN]) == {1, 2, 3, 4}
    assert database.write_now(versions.remove_stranded, ANN, directories) == []
    found = database.read_now(users.named, opaque_ids[BEN])
    assert found is not None
    assert found.owner == BEN
    assert database.read_now(users.named, "0" * 32) is None


def test_what_is_half_removed_is_swept(tmp_path: Path) -> None:
    directories = Directories(tmp_path)
    left = tmp_path / ".staging" / "u1.v1.removed.abc" / "removed"
    left.mkdir(parents=True)
    directories.sweep()
    assert not left.parent.exists()


def test_only_old_staging_directories_are_swept(tmp_path: Path) -> None:
    directories = Directories(tmp_path)
    directories.sweep()
    old, fresh = directories.stage("u1", 1), directories.stage("u1", 2)
    os.utime(old, (time.time() - 100_000,) * 2)
    directories.sweep()
    assert (old.exists(), fresh.exists()) == (False, True)
