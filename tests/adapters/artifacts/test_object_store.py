"""Published versions in an object store: other disks get them whole and to the byte, and what is deleted is gone."""

import io
import itertools
import json
import os
import tarfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import pytest

from adapters.artifacts.directories import Directories
from adapters.artifacts.disk_cache import DiskCache
from adapters.artifacts.manifest import Manifest
from adapters.artifacts.object_store import ObjectStore, StoreUnavailable
from adapters.artifacts.validation import CONFIG, WEIGHTS
from adapters.lifecycle.activation import Policy
from adapters.lifecycle.importing import Importer
from store import users
from store.database import Database
from store.errors import EngineUnavailable, Invalid, NotFound
from store.owner import Owner
from tests.adapters.fakes import FakeHost, Trained

_number = itertools.count()


@pytest.fixture(params=["memory", "file"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A store's URL; the one in memory is one for the whole process."""
    if request.param == "file":
        yield f"file://{tmp_path / 'store'}"
        return
    root = f"/store-{next(_number)}"
    yield f"memory:/{root}"
    files = fsspec.filesystem("memory")
    if files.exists(root):
        files.rm(root, recursive=True)


class Disks:
    """Servers with disks of their own on one store."""

    def __init__(self, root: Path, url: str) -> None:
        self.url = url
        self.here, self.there = (Directories(root / name, ObjectStore(url)) for name in ("here", "there"))
        self.alone = Directories(root / "here")
        for directories in (self.here, self.there):
            directories.root.mkdir()

    def publish(
        self, opaque_id: str, number: int, weights: str = "weights", *, into: Directories | None = None
    ) -> None:
        directories = into or self.here
        adapter = directories.stage(opaque_id, number) / "adapter"
        adapter.mkdir()
        (adapter / "adapter_model.safetensors").write_text(weights)
        directories.upload(adapter, opaque_id, number)
        directories.publish(adapter, opaque_id, Manifest(number, ["fb-1"], "base", {}, {}, {}, 1.0))

    def objects(self) -> list[str]:
        files, root = fsspec.core.url_to_fs(self.url)
        return [name.removeprefix(f"{root}/") for name in files.find(root)]


@pytest.fixture
def disks(tmp_path: Path, url: str) -> Disks:
    return Disks(tmp_path, url)


def test_another_disk_gets_what_was_published_to_the_byte(disks: Disks) -> None:
    disks.publish("u1", 1)
    assert disks.there.on_disk("u1") == set()
    assert disks.there.published("u1") == {1}
    assert disks.there.verified("u1", 1) == disks.here.verified("u1", 1)
    assert disks.there.on_disk("u1") == {1}
    assert (disks.there.path("u1", 1) / "adapter_model.safetensors").read_text() == "weights"
    assert disks.there.path("u1", 1).parent.stat().st_mode & 0o077 == 0
    assert not list((disks.there.root / ".staging").iterdir())


def test_what_was_uploaded_but_not_published_is_no_version(disks: Disks) -> None:
    adapter = disks.here.stage("u1", 1)
    (adapter / "adapter_model.safetensors").write_text("weights")
    disks.here.upload(adapter, "u1", 1)
    with pytest.raises(NotFound, match="no complete directory"):
        disks.there.verified("u1", 1)
    assert disks.there.published("u1") == {1}, "but it is found by who cleans up"
    disks.there.clear("u1", 1)
    assert disks.objects() == []


def test_two_workers_that_make_one_version_do_not_mix_their_files(disks: Disks) -> None:
    late = disks.there.stage("u1", 1) / "adapter"
    late.mkdir()
    (late / "adapter_model.safetensors").write_text("weights of who lost the job")
    disks.publish("u1", 1, "weights of who has it")
    disks.there.upload(late, "u1", 1)
    disks.there.verified("u1", 1)
    assert (disks.there.path("u1", 1) / "adapter_model.safetensors").read_text() == "weights of who has it"


def test_files_that_changed_in_the_store_are_refused(disks: Disks) -> None:
    disks.publish("u1", 1)
    files, root = fsspec.core.url_to_fs(disks.url)
    weights = next(name for name in disks.objects() if name.endswith("safetensors"))
    files.pipe_file(f"{root}/{weights}", b"weighty")
    with pytest.raises(Invalid, match="not those that were published"):
        disks.there.verified("u1", 1)
    assert disks.there.on_disk("u1") == set()


@pytest.mark.parametrize("name", ["../escaped", "..", "a/b", "manifest.json", ""])
def test_a_manifest_in_the_store_names_files_of_its_own_folder_alone(disks: Disks, name: str) -> None:
    disks.publish("u1", 1)
    files, root = fsspec.core.url_to_fs(disks.url)
    manifest = json.loads(files.cat_file(f"{root}/u1/v1/manifest.json")) | {"files": {name: "0" * 64}}
    files.pipe_file(f"{root}/u1/v1/manifest.json", json.dumps(manifest).encode())
    with pytest.raises(Invalid, match="names a file"):
        disks.there.verified("u1", 1)
    assert not list((disks.there.root / ".staging").iterdir())


def test_what_is_deleted_or_erased_leaves_the_store(disks: Disks) -> None:
    for opaque_id, number in (("u1", 1), ("u1", 2), ("u11", 1)):
        disks.publish(opaque_id, number)
    disks.there.remove("u1", 1)
    disks.there.remove("u1", 1)
    assert disks.there.published("u1") == {2}
    disks.there.remove_all("u1")
    disks.there.remove_all("u1")
    assert disks.there.holders() == {"u11"}
    assert {name.split("/")[0] for name in disks.objects()} == {"u11"}
    assert disks.here.on_disk("u1") == {1, 2}, "another disk's are its own server's to remove"


def test_versions_of_before_there_was_a_store_are_mirrored_and_not_evicted_earlier(disks: Disks) -> None:
    disks.publish("u1", 1, into=disks.alone)
    (copy,) = disks.here.copies()
    assert (copy.name, copy.size) == ("u1.v1", sum(f.stat().st_size for f in disks.here.path("u1", 1).iterdir()))
    assert not disks.here.evict(copy)
    disks.here.mirror("u1", 1)
    disks.here.mirror("u1", 1)
    assert disks.here.evict(copy)
    assert disks.here.on_disk("u1") == set()
    disks.here.verified("u1", 1)
    assert disks.here.on_disk("u1") == {1}


def age(directories: Directories, opaque_id: str, seconds: float) -> None:
    os.utime(directories.path(opaque_id, 1), (time.time() - seconds,) * 2)


async def test_the_least_recently_used_are_evicted_but_none_that_is_in_use(disks: Disks) -> None:
    for number, opaque_id in enumerate(("u1", "u2", "u3", "u4", "u5")):
        disks.publish(opaque_id, 1)
        age(disks.here, opaque_id, 1000 - number)
    host = FakeHost()
    host.names = {"u1.v1": Path(), "u2.v1-serving": Path()}
    size = disks.here.copies()[0].size
    assert await DiskCache(disks.here, host, 5 * size).trim() == 0
    disks.here.local("u3", 1)  # used just now
    assert await DiskCache(disks.here, host, 4 * size).trim() == 1
    assert set(disks.here.users()) - {"u4"} == {"u1", "u2", "u3", "u5"}
    assert disks.here.on_disk("u4") == set()
    assert await DiskCache(disks.here, host, 0).trim() == 1
    assert [copy.opaque_id for copy in disks.here.copies()] == ["u1", "u2", "u3"]


async def test_while_the_engine_cannot_tell_what_is_in_use_nothing_is_evicted(disks: Disks) -> None:
    disks.publish("u1", 1)
    age(disks.here, "u1", 1000)
    host = FakeHost()
    host.down = True
    with pytest.raises(EngineUnavailable):
        await DiskCache(disks.here, host, 0).trim()
    assert disks.here.on_disk("u1") == {1}


def test_a_store_that_fails_is_no_missing_version(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    directories = Directories(tmp_path / "here", ObjectStore(f"file://{tmp_path / 'store'}"))
    (tmp_path / "store" / "u1").write_text("not a folder")
    with pytest.raises(StoreUnavailable, match="NotADirectoryError"):
        directories.manifest("u1", 1)


@pytest.mark.parametrize("url", ["foo://bucket", "dask://here"])
def test_a_store_without_a_driver_is_refused_in_a_sentence(url: str) -> None:
    with pytest.raises(Invalid, match="cannot be opened"):
        ObjectStore(url)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_others_write_while_an_import_is_uploaded(database: Database, trained: Trained, tmp_path: Path) -> None:
    owner, waits = Owner("acme", "ann"), ThreadPoolExecutor(1)

    class Watched(ObjectStore):
        def put(self, directory: Path, opaque_id: str, version: int, files: Mapping[str, str]) -> None:
            if not self.published(opaque_id):  # there is something to upload
                waits.submit(database.write_now, users.ensure, Owner("acme", "bob")).result(10)
            super().put(directory, opaque_id, version, files)

    async def tar() -> AsyncIterator[bytes]:
        made = io.BytesIO()
        with tarfile.open(fileobj=made, mode="w") as archive:
            for name in (CONFIG, WEIGHTS):
                archive.add(trained.adapter / name, name)
        yield made.getvalue()

    directories = Directories(tmp_path / "adapters", Watched(f"file://{tmp_path / 'store'}"))
    importer = Importer(database, directories, str(trained.base), trained.recipe, Policy(), 1 << 30)
    user = await database.write(users.ensure, owner)
    assert await importer(user, tar()) == 1
    assert directories.verified(user.opaque_id, 1).version == 1
    assert await database.read(users.get, Owner("acme", "bob")) is not None
    waits.shutdown()
