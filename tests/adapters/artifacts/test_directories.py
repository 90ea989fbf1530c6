import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from adapters.artifacts.directories import Directories
from adapters.artifacts.manifest import Manifest
from store.errors import NotFound


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
