"""What an engine brings from the store: what is published, whole, of its base, and of nobody who was erased."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from adapters.artifacts.directories import Directories
from adapters.artifacts.manifest import Manifest, content_of, digests
from adapters.artifacts.names import gate_name
from adapters.artifacts.object_store import ObjectStore
from adapters.artifacts.validation import base_sha256
from server.engine import resolver
from server.engine.resolver import Resolver
from server.settings import BUNDLED_MODEL
from store.errors import AttuneError

ANN, BOB = "a" * 32, "b" * 32
BASE = str(BUNDLED_MODEL)
BYTES = 1000


class World:
    """A store with versions, an engine's resolver, and vLLM's handler of models as far as the resolver knows it."""

    def __init__(self, root: Path, limit: int = 1 << 20) -> None:
        self.root = root
        self.url = f"file://{root / 'store'}"
        self.store = ObjectStore(self.url)
        self.server = Directories(root / "server", self.store)
        self.server.root.mkdir(exist_ok=True)
        self.resolver = Resolver(self.store, root / "engines", limit=limit)
        self.in_cache: set[int] = set()
        self.unloaded: list[str] = []
        self.models: Any = SimpleNamespace(
            model_config=SimpleNamespace(model=BASE),
            lora_requests={},
            lora_resolver_lock=defaultdict(asyncio.Lock),
            engine_client=self,
            unload_lora_adapter=self.unload,
        )

    async def list_loras(self) -> set[int]:
        return self.in_cache

    async def unload(self, request: Any) -> None:
        self.unloaded.append(request.lora_name)
        held = self.models.lora_requests.pop(request.lora_name)
        await self.resolver.forget(request.lora_name, held.lora_path)

    def publish(self, opaque_id: str, version: int, base: str | None = None) -> None:
        adapter = self.candidate(opaque_id, version)
        manifest = Manifest(version, [], base_sha256(BUNDLED_MODEL) if base is None else base, {}, {}, {}, 1.0)
        self.server.publish(adapter, opaque_id, manifest)

    def candidate(self, opaque_id: str, version: int) -> Path:
        adapter = self.server.stage(opaque_id, version) / "adapter"
        adapter.mkdir()
        (adapter / "adapter_config.json").write_text("{}")
        (adapter / "adapter_model.safetensors").write_bytes(bytes([version]) * BYTES)
        self.server.upload(adapter, opaque_id, version)
        return adapter

    async def ask(self, name: str) -> Path | None:
        """As vLLM does when a request names an adapter that it does not know."""
        async with self.models.lora_resolver_lock[name]:
            found = await self.resolver.resolve_lora(BASE, name)
        if found is None:
            return None
        found.lora_int_id = len(self.models.lora_requests) + 1
        self.models.lora_requests[name] = found
        return Path(found.lora_path)

    def objects(self) -> list[Path]:
        return [path for path in (self.root / "store").rglob("*.safetensors")]


@asynccontextmanager
async def running(world: World) -> AsyncIterator[World]:
    await world.resolver.start(world.models)
    try:
        while world.resolver.base(BASE) is None:  # noqa: ASYNC110 - read by the first sweep
            await asyncio.sleep(0.01)
        yield world
    finally:
        await world.resolver.close()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running(World(tmp_path)) as world:
        yield world


async def test_what_is_published_is_brought_to_the_byte(world: World) -> None:
    world.publish(ANN, 1)
    world.publish(ANN, 2, base="")  # made elsewhere: its base is not known
    for version in (1, 2):
        path = await world.ask(f"{ANN}.v{version}")
        assert path is not None
        assert path.is_relative_to(world.root / "engines")
        assert digests(path) == digests(world.server.path(ANN, version))
    assert await world.ask(gate_name(ANN, 1, "serving")) == await world.ask(f"{ANN}.v1")


@pytest.mark.parametrize(
    "name",
    ["", "attune-tiny", "../server", f"{ANN}.v0", f"{ANN}.v1/..", f"{ANN}.v1 ", f"{ANN.upper()}.v1",
     f"{ANN}.v1-candidate", f"../{ANN}.v1", f"{ANN}.v1-serving-x", f"{ANN}.v٣", f"{ANN}.v2", f"{BOB}.v1"],
)  # fmt: skip
async def test_what_is_no_name_of_a_published_version_is_not_found(world: World, name: str) -> None:
    world.publish(ANN, 1)
    assert await world.ask(name) is None


async def test_what_was_changed_is_not_brought(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.publish(ANN, 1)
    world.publish(BOB, 1, base="0" * 64)
    (weights,) = [path for path in world.objects() if ANN in str(path)]
    weights.write_bytes(b"x" * BYTES)
    for name in (f"{ANN}.v1", f"{BOB}.v1"):
        assert await world.ask(name) is None
    assert "not those that were published" in caplog.text
    assert "another base model" in caplog.text


async def test_a_candidate_is_brought_by_what_it_is_made_of(world: World) -> None:
    content = content_of(digests(world.candidate(ANN, 3)))
    name = gate_name(ANN, 3, "candidate", content)
    path = await world.ask(name)
    assert path is not None
    assert content_of(digests(path)) == content
    assert await world.ask(gate_name(ANN, 3, "candidate", "f" * 32)) is None
    (weights,) = world.objects()
    weights.write_bytes(b"x" * BYTES)
    shutil.rmtree(path)
    assert await world.ask(name) is None


async def test_nobody_who_was_erased_comes_back(world: World) -> None:
    world.publish(ANN, 1)
    world.publish(BOB, 1)
    kept, gone = await world.ask(f"{BOB}.v1"), await world.ask(f"{ANN}.v1")
    assert gone is not None
    world.store.bury(ANN)  # its files are there still, as of a bucket that was restored
    await world.resolver.sweep(world.models)
    assert world.unloaded == [f"{ANN}.v1"]
    assert not gone.exists()
    assert kept is not None
    assert kept.exists()
    assert await world.ask(f"{ANN}.v1") is None
    world.server.remove(BOB, 1)
    await world.resolver.sweep(world.models)
    assert not world.models.lora_requests
    assert not kept.exists()
    assert not world.models.lora_resolver_lock


async def test_what_is_unloaded_leaves_nothing_that_names_its_user(world: World) -> None:
    world.publish(ANN, 1)
    world.publish(ANN, 2)
    first, second = await world.ask(f"{ANN}.v1"), await world.ask(f"{ANN}.v2")
    await world.unload(SimpleNamespace(lora_name=f"{ANN}.v1"))
    assert first is not None
    assert second is not None
    assert (first.exists(), second.exists()) == (False, True)
    await world.unload(SimpleNamespace(lora_name=f"{ANN}.v2"))
    assert not second.parent.exists()
    assert await world.ask(f"{ANN}.v1") == first  # and it can come back


async def test_a_tombstone_is_kept_for_a_period_and_no_longer_than_two(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.store.bury(ANN)
    now, period = time.time(), 30 * 86_400
    for later, buried in ((period, True), (2 * period, False)):
        monkeypatch.setattr(time, "time", lambda later=later: now + later)
        assert world.store.buried(ANN) is buried
        assert (ANN in world.store.all_buried()) is buried
    world.store.bury(BOB)
    graves = world.root / "store" / ".erased"
    assert [path.name for path in graves.rglob("*") if path.is_file()] == [BOB]
    assert world.store.users() == set()


async def test_a_store_that_is_away_or_slow_brings_nothing_and_lets_nothing_go(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world.publish(ANN, 1)
    kept = await world.ask(f"{ANN}.v1")
    monkeypatch.setattr(resolver, "PATIENCE", 0.05)
    monkeypatch.setattr(world.store, "buried", lambda _: time.sleep(0.3))
    assert await world.ask(f"{ANN}.v1-serving") is None
    assert "TimeoutError" in caplog.text

    def away(*_: Any) -> Any:
        raise OSError("no route to host")

    monkeypatch.setattr(world.store._files, "ls", away)
    with pytest.raises(AttuneError):
        await world.resolver.sweep(world.models)
    assert kept is not None
    assert kept.exists()
    assert f"{ANN}.v1" in world.models.lora_requests


async def test_the_folder_stays_within_its_bounds_and_what_is_in_use_stays(tmp_path: Path) -> None:
    async with running(World(tmp_path, limit=5 * BYTES)) as world:
        paths = {}
        for number in range(1, 7):
            world.publish(ANN, number)
            paths[number] = await world.ask(f"{ANN}.v{number}")
        world.in_cache = {1, 6}  # the engine's own cache of weights
        await world.resolver.sweep(world.models)
        left = {int(name.rpartition("v")[2]) for name in world.models.lora_requests}
        assert left == {1, 5, 6}
        assert all(path is not None and path.exists() for path in paths.values()), "somebody may have asked just now"
        assert await world.ask(f"{ANN}.v2") == paths[2]
        for path in filter(None, paths.values()):
            os.utime(path, (1.0, 1.0))
        await world.resolver.sweep(world.models)
        assert {name.rpartition("v")[2] for name in world.models.lora_requests} == {"1", "2", "6"}
        assert {number for number, path in paths.items() if path is not None and path.exists()} == {1, 2, 5, 6}


HANDLER = """
import asyncio, json, sys
from types import SimpleNamespace
from server.engine import plugin as engine_plugin

engine_plugin.register()
from vllm.entrypoints.openai.models.protocol import BaseModelPath
from vllm.entrypoints.openai.models.serving import OpenAIServingModels
from vllm.entrypoints.serve.lora.protocol import UnloadLoRAAdapterRequest

class Client:
    def __init__(self):
        self.model_config = SimpleNamespace(model=sys.argv[1], max_model_len=512)
        self.renderer = self.input_processor = None
        self.held = {}
    async def add_lora(self, request):
        self.held[request.lora_int_id] = request.lora_path
    async def remove_lora(self, number):
        self.held.pop(number, None)
    async def list_loras(self):
        return set(self.held)

async def main():
    client = Client()
    models = OpenAIServingModels(client, [BaseModelPath(name="tiny", model_path=sys.argv[1])])
    await models.init_static_loras()
    while (mark := (await models.show_available_models()).data[0].attune)["base_sha256"] is None:
        await asyncio.sleep(0.05)
    name, unknown = sys.argv[2:]
    found, missing = await models.resolve_lora(name), await models.resolve_lora(unknown)
    listed = [card.model_dump() for card in (await models.show_available_models()).data]
    held = dict(client.held)
    await models.unload_lora_adapter(UnloadLoRAAdapterRequest(lora_name=name))
    told = {"mark": mark, "path": found.lora_path, "missing": missing.error.code, "held": held, "left": client.held}
    print(json.dumps(told | {"listed": listed}))

asyncio.run(main())
"""


def test_vllms_own_handler_of_models_brings_it_tells_servers_and_forgets(tmp_path: Path) -> None:
    """The classes that the plugin changes, as vLLM has them, before an engine that has no model."""
    world = World(tmp_path)
    world.publish(ANN, 1)
    environment = {
        **os.environ, "ATTUNE_ADAPTER_STORE": world.url, "ATTUNE_ADAPTER_CACHE_DIR": str(tmp_path / "engines"),
        "PYTHONPATH": str(Path(__file__).parents[3]), "VLLM_LOGGING_LEVEL": "ERROR",
    }  # fmt: skip
    command = [sys.executable, "-c", HANDLER, BASE, f"{ANN}.v1", f"{BOB}.v1"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["mark"] == {"base_sha256": base_sha256(BUNDLED_MODEL)}
    assert [(card["id"], card["parent"]) for card in told["listed"]] == [("tiny", None), (f"{ANN}.v1", "tiny")]
    assert told["listed"][0]["attune"] == told["mark"]
    assert list(told["held"].values()) == [told["path"]]
    assert told["missing"] == 404
    assert told["left"] == {}
    assert not Path(told["path"]).exists()
    assert not list((tmp_path / "engines").iterdir()), "the folder goes with its process"
