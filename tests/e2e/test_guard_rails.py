"""Adapter files that were changed where the server would load them: none is served, and the engine stays alive."""

import json
import random
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.e2e.conftest import People

CHANGES: dict[str, Callable[[Path, random.Random], object]] = {
    "a pickle beside it": lambda a, _: (a / "adapter_model.bin").write_bytes(b"\x80\x04cos\nsystem\n"),
    "a pickle instead": lambda a, _: (a / "adapter_model.safetensors").rename(a / "adapter_model.bin"),
    "no weights": lambda a, _: (a / "adapter_model.safetensors").unlink(),
    "no config": lambda a, _: (a / "adapter_config.json").unlink(),
    "cut": lambda a, rng: _weights(a, lambda w: w[: rng.randrange(len(w))]),
    "one bit": lambda a, rng: _weights(a, lambda w: w[:-1] + bytes([w[-1] ^ 1])),
    "a huge header": lambda a, _: _weights(a, lambda w: struct.pack("<Q", 2**62) + w[8:]),
    "not a number": lambda a, _: _weights(a, lambda w: w[:-4] + b"\x00\x00\xc0\x7f"),
    "longer": lambda a, _: _weights(a, lambda w: w + bytes(100)),
    "rank": lambda a, _: _config(a, r=512),
    "another kind": lambda a, _: _config(a, peft_type="IA3"),
    "modules": lambda a, _: _config(a, modules_to_save=["lm_head"]),
    "code": lambda a, _: _config(a, auto_mapping={"base_model_class": "x", "parent_library": "os"}),
    "dora": lambda a, _: _config(a, use_dora=True),
    "no manifest": lambda a, _: (a / "manifest.json").unlink(),
    "a link": lambda a, _: _link(a),
}


def _weights(adapter: Path, change: Callable[[bytes], bytes]) -> None:
    path = adapter / "adapter_model.safetensors"
    path.write_bytes(change(path.read_bytes()))


def _config(adapter: Path, **changes: object) -> None:
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def _link(adapter: Path) -> None:
    path = adapter / "adapter_model.safetensors"
    moved = path.rename(adapter.parent / "elsewhere")
    path.symlink_to(moved)


@pytest.fixture
def data(server: str) -> Path:
    """The server's data folder, from its own environment."""
    port = int(server.rpartition(":")[2])
    for process in psutil.Process().children():
        environment = process.environ()
        if environment.get("ATTUNE_PORT") == str(port):
            return Path(environment["ATTUNE_DATA_DIR"])
    raise AssertionError("the server's process was not found")


@pytest.fixture
def published(data: Path) -> Iterator[Callable[[], Path]]:
    """Where the newest adapter was published; put back afterwards."""
    kept: list[tuple[Path, Path]] = []

    def newest() -> Path:
        found = max((data / "adapters").glob("*/v1"), key=lambda path: path.stat().st_mtime)
        kept.append((found, Path(shutil.copytree(found, data / "kept"))))
        return found

    yield newest
    for _, copy in kept:
        shutil.rmtree(copy)


@pytest.mark.timeout(600)
def test_a_changed_adapter_is_not_served_and_the_engine_lives(
    people: People, server: str, data: Path, published: Callable[[], Path]
) -> None:
    person = people("client", seed=11)
    version = person.train("client")
    assert version["state"] == "ready", version["report"]
    path = f"/v1/users/{person.id}/adapters"
    text = person.request("client").text
    adapted = person.ask(text, store=False, personalize="adapter")
    assert adapted.attune["adapter_version"] == 1
    directory = published()
    rng = random.Random(5)
    for name, change in CHANGES.items():
        assert person.http.post(f"{path}/0/activate").status_code == 200, name
        shutil.rmtree(directory)
        shutil.copytree(data / "kept", directory)
        change(directory, rng)
        refused = person.http.post(f"{path}/1/activate")
        assert refused.status_code in (400, 404), (name, refused.text)
        assert "adapter version 1" in refused.json()["error"]["message"].lower(), name
        asked = person.http.post(
            "/v1/chat/completions",
            json={
                "model": "attune-tiny",
                "messages": [{"role": "user", "content": text}],
                "max_tokens": 5,
                "attune": {"adapter_version": 1, "store": False},
            },
        )
        assert asked.status_code in (400, 404), (name, asked.text)
        plain = person.ask(text, store=False)
        assert plain.attune["adapter_version"] == 0, name
        assert httpx.get(f"{server}/ready", timeout=10).json()["engine"] == "ready", name
    shutil.rmtree(directory)
    (directory.parent / "elsewhere").unlink(missing_ok=True)
    shutil.copytree(data / "kept", directory)
    assert person.http.post(f"{path}/1/activate").status_code == 200, "as it was published it serves again"
    again = person.ask(text, store=False, personalize="adapter")
    assert again.choices[0].message.content == adapted.choices[0].message.content
