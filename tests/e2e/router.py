"""Router mode with real parts: vllm-router, two vLLMs on the CPU that bring adapters from a store, Attune before them.

`make test-router`. Not a part of `make test`: it takes minutes, and vllm-router an environment of its own.
"""

import asyncio
import os
import re
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from openai import AsyncOpenAI

from bench.servers import MODEL, ROOT, Server, vllm, vllm_router
from lab.child import free_port
from tests.e2e.conftest import MIN_EDITS, People, Person, running_server
from tests.e2e.test_adapters import REQUESTS, cost, leak_test

pytestmark = [pytest.mark.timeout(1800), pytest.mark.asyncio(loop_scope="module")]
KILLS = 3


@dataclass
class Fleet:
    """Two engines, which can be killed, and the server's URL."""

    folder: Path
    ports: list[int] = field(default_factory=lambda: [free_port(), free_port()])
    stacks: dict[int, AsyncExitStack] = field(default_factory=dict)
    engines: dict[int, Server] = field(default_factory=dict)
    base: str = ""

    @property
    def store(self) -> str:
        return f"file://{self.folder / 'store'}"

    async def start(self, port: int) -> None:
        self.stacks[port] = AsyncExitStack()
        self.engines[port] = await self.stacks[port].enter_async_context(
            vllm(
                self.folder, port=port, max_loras=2, max_cpu_loras=4,
                adapter_store=self.store, adapter_cache_dir=str(self.folder / "caches"),
            )
        )  # fmt: skip

    async def kill(self, port: int) -> None:
        os.killpg(self.engines[port].pid, signal.SIGKILL)
        await self.stacks[port].aclose()

    def names(self) -> dict[str, set[str]]:
        """The adapters that each engine knows by name."""
        listed = {e.url: httpx.get(f"{e.url}/v1/models").json()["data"] for e in self.engines.values()}
        return {url: {model["id"] for model in models if model["parent"]} for url, models in listed.items()}

    def weights(self) -> dict[str, set[int]]:
        """The adapters whose weights each engine holds, by vLLM's own list."""
        found = {}
        for engine in self.engines.values():
            told = httpx.post(f"{engine.url}/collective_rpc", json={"method": "list_loras"}).json()["results"]
            found[engine.url] = {int(number) for worker in told for number in re.findall(r"\d+", str(worker))}
        return found

    def files(self, opaque_id: str) -> list[Path]:
        """What is left of a user in the store and in the engines' folders, but for the tombstone."""
        places = [self.folder / "store", self.folder / "caches"]
        found = [path for place in places for path in place.rglob("*") if opaque_id in str(path)]
        return [path for path in found if ".erased" not in path.parts]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fleet(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Fleet]:
    fleet = Fleet(tmp_path_factory.mktemp("router"))
    async with AsyncExitStack() as stack:
        stack.push_async_callback(lambda: asyncio.gather(*(one.aclose() for one in fleet.stacks.values())))
        await asyncio.gather(*map(fleet.start, fleet.ports))
        router = await stack.enter_async_context(vllm_router(fleet.folder, list(fleet.engines.values())))
        settings = {
            "ATTUNE_ENGINE_URL": router.url,
            "ATTUNE_ENGINE_ROUTER": "true",
            "ATTUNE_ENGINE_ENDPOINTS": ",".join(engine.url for engine in fleet.engines.values()),
            "ATTUNE_ADAPTER_STORE": fleet.store,
            "ATTUNE_MODEL": str(ROOT / "lab" / "model"),
            "ATTUNE_SERVED_MODEL_NAME": MODEL,
            "ATTUNE_ADAPTER_MIN_EDITS": str(MIN_EDITS),
        }
        with ExitStack() as server:
            fleet.base = await asyncio.to_thread(server.enter_context, running_server(fleet.folder, settings))
            try:
                yield fleet
            finally:
                await asyncio.to_thread(server.close)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def trained(fleet: Fleet) -> AsyncIterator[tuple[Person, Person]]:
    """Two users whose adapters were trained, measured by the gate behind the router, and serve."""
    people = People(fleet.base)
    ann, bob = people("client", seed=11), people("client", seed=12)
    versions = await asyncio.gather(asyncio.to_thread(ann.train, "client"), asyncio.to_thread(bob.train, "client"))
    assert [v["state"] for v in versions] == ["ready", "ready"], [v["report"] for v in versions]
    assert all(v["report"]["obedience"] for v in versions)
    yield ann, bob
    ann.close()
    bob.close()


async def test_adapters_help_and_swaps_leak_nothing(fleet: Fleet, trained: tuple[Person, Person]) -> None:
    for person in trained:
        without = await asyncio.to_thread(cost, person, "client", personalize="off")
        assert await asyncio.to_thread(cost, person, "client", personalize="adapter") <= 0.2 * without
    await leak_test(fleet.base, *trained)
    assert not any("candidate" in name for names in fleet.names().values() for name in names)


async def test_a_canary_answers_beside_what_serves(fleet: Fleet, trained: tuple[Person, Person]) -> None:
    ann, _ = trained
    assert ann.http.post(f"/v1/users/{ann.id}/adapters/1/activate").status_code == 200
    taken = ann.http.get(f"/v1/users/{ann.id}/export", params={"format": "adapter"}).content
    tar = {"Content-Type": "application/x-tar"}
    made = ann.http.post(f"/v1/users/{ann.id}/adapters/import", content=taken, headers=tar)
    assert made.status_code == 201, made.text
    second = made.json()["version"]
    tried = ann.http.post(f"/v1/users/{ann.id}/adapters/{second}/canary", json={"share": 0.5})
    assert tried.status_code == 200, tried.text

    def answered() -> set[int]:
        texts = [ann.request("client").text for _ in range(12)]
        return {ann.ask(text, store=False, max_tokens=4).attune["adapter_version"] for text in texts}

    seen: set[int] = set()
    for _ in range(20):
        seen |= await asyncio.to_thread(answered)
        if len(seen) == 2:
            break
    assert seen == {1, second}
    assert ann.http.post(f"/v1/users/{ann.id}/adapters/rollback").status_code == 200


async def test_nobody_notices_that_an_engine_is_killed_and_comes_back(
    fleet: Fleet, trained: tuple[Person, Person]
) -> None:
    for person in trained:
        assert person.http.post(f"/v1/users/{person.id}/adapters/1/activate").status_code == 200
    texts = [trained[0].request("client").text for _ in range(REQUESTS)]
    said = {
        (person.id, version, text): person.ask(
            text, store=False, personalize="adapter" if version else "off", max_tokens=60
        ).choices[0].message.content
        for person in trained for version in (0, 1) for text in texts
    }  # fmt: skip
    stop, answers, wrong = asyncio.Event(), Counter[int](), list[str]()

    async def load(person: Person) -> None:
        headers = {"X-User-Id": person.id}
        async with AsyncOpenAI(
            base_url=f"{fleet.base}/v1", api_key="none", default_headers=headers, max_retries=0
        ) as client:
            while not stop.is_set():
                for text in texts:
                    answer = await client.chat.completions.create(
                        model=MODEL, messages=[{"role": "user", "content": text}], temperature=0, max_tokens=60,
                        extra_body={"attune": {"store": False, "personalize": "adapter"}},
                    )  # fmt: skip
                    assert answer.model_extra is not None
                    version = answer.model_extra["attune"]["adapter_version"]
                    answers[version] += 1
                    if answer.choices[0].message.content != said[person.id, version, text]:
                        wrong.append(f"{person.id} v{version}: {answer.choices[0].message.content}")

    running = [asyncio.create_task(load(person)) for person in trained * 2]
    for kill in range(KILLS):
        await asyncio.sleep(2)
        port = fleet.ports[kill % 2]
        await fleet.kill(port)
        await fleet.start(port)
        await asyncio.sleep(5)  # its router asks it again
    stop.set()
    await asyncio.gather(*running)  # raises what failed
    assert not wrong, wrong[:3]
    assert answers[1] > 50
    assert answers[1] > answers[0]


async def test_an_erasure_leaves_nothing_in_any_engine(fleet: Fleet, trained: tuple[Person, Person]) -> None:
    ann, bob = trained
    for person in trained:
        await asyncio.to_thread(person.ask, "Hello", store=False, personalize="adapter", max_tokens=1)
    held = {name.partition(".")[0] for names in fleet.names().values() for name in names}
    stored = {path.name for path in (fleet.folder / "store").iterdir() if not path.name.startswith(".")}
    assert held <= stored
    assert len(stored) == 2
    for person in (ann, bob):
        erased = await asyncio.to_thread(person.http.delete, f"/v1/users/{person.id}")
        assert erased.status_code == 200, erased.text
    assert fleet.names() == {url: set() for url in fleet.names()}
    assert fleet.weights() == {url: set() for url in fleet.weights()}
    for opaque_id in stored:
        assert not fleet.files(opaque_id)
        assert list((fleet.folder / "store" / ".erased").rglob(opaque_id))
        for engine in fleet.engines.values():  # whoever asks an engine itself gets nothing either
            asked = {"model": f"{opaque_id}.v1", "prompt": "a", "max_tokens": 1}
            told = await asyncio.to_thread(httpx.post, f"{engine.url}/v1/completions", json=asked)
            assert told.status_code == 404
