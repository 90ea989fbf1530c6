"""Several engines behind one server: each user has one, another answers when it is away, and nothing stays in any."""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from adapters.artifacts.directories import Directories
from adapters.lifecycle.versions import ServedVersions
from adapters.registry.registry import Registry
from server.engine.client import Engine
from server.engine.pool import Engines, Replica
from store.errors import EngineUnavailable
from store.owner import Owner
from store.users import User
from tests.server.conftest import Running, Start, ask, until
from tests.server.erasing import publish
from tests.server.fake_engine import FakeEngine, Script

USERS = [Owner("local", f"user-{number}") for number in range(100)]


@pytest.fixture
def engines() -> Iterator[list[FakeEngine]]:
    with ExitStack() as stack:
        yield [stack.enter_context(FakeEngine()) for _ in range(3)]


@pytest.fixture
def running(start: Start, engines: list[FakeEngine]) -> Running:
    return start(engine_url=",".join(engine.url for engine in engines))


def asked_as(running: Running, owner: Owner, **more: Any) -> int:
    """Ask once as this user; the version that answered."""
    headers = {"X-User-Id": owner.user}
    answer = running.http(headers=headers).post("/v1/chat/completions", json=ask(**more))
    assert answer.status_code == 200, answer.text
    return 0 if more.get("stream") else int(answer.json()["attune"]["adapter_version"])


def homes(running: Running, owners: list[Owner]) -> dict[Owner, str]:
    return {owner: running.services.engine.order(owner)[0].name for owner in owners}


def made(*names: str) -> Engines:
    async def none(_: User) -> ServedVersions:
        return ServedVersions(None, None)

    def replica(name: str) -> Replica:
        engine = Engine(name)
        return Replica(name, engine, Registry(engine, Directories(Path("none")), capacity=1, version_of=none))

    return Engines([replica(name) for name in names])


def test_one_engine_more_takes_its_share_of_users_and_moves_nobody_else() -> None:
    owners = [Owner("acme", f"user-{number}") for number in range(3000)]
    three, four = made("a", "b", "c"), made("d", "c", "b", "a")
    before = {owner: three.order(owner)[0].name for owner in owners}
    after = {owner: four.order(owner)[0].name for owner in owners}
    assert all(800 < count < 1200 for count in Counter(before.values()).values())
    moved = [owner for owner in owners if before[owner] != after[owner]]
    assert {after[owner] for owner in moved} == {"d"}
    assert 600 < len(moved) < 900
    assert {tuple(sorted(replica.name for replica in four.order(owner))) for owner in owners} == {("a", "b", "c", "d")}


def test_who_is_nobody_is_sent_round() -> None:
    three = made("a", "b", "c")
    assert [three.order(None)[0].name for _ in range(4)] == ["a", "b", "c", "a"]


def test_every_user_is_answered_by_one_engine_with_adapters_of_its_own(
    running: Running, engines: list[FakeEngine]
) -> None:
    home = homes(running, USERS)  # by the engines' ports, which are others each time
    users = [owner for engine in engines for owner in [o for o in USERS if home[o] == engine.url][:4]]
    opaque = {owner: publish(running, owner=owner) for owner in users}
    for owner in users * 2:
        assert asked_as(running, owner) == 1
    for engine in engines:
        mine = {f"{opaque[owner]}.v1" for owner in users if home[owner] == engine.url}
        assert len(mine) == 4
        assert set(engine.adapters) == mine
        assert {request["model"] for request in engine.requests} == mine
    assert running.services.registry.loaded == running.services.registry.serving == len(users) == 12
    for owner in users[::2]:
        assert running.http().delete(f"/v1/users/{owner.user}").json()["deleted"]
    left = {name for engine in engines for name in engine.adapters}
    assert left == {f"{opaque[owner]}.v1" for owner in users[1::2]}


@pytest.mark.parametrize("stream", [False, True])
def test_while_an_engine_is_away_others_answer_its_users(
    running: Running, engines: list[FakeEngine], stream: bool
) -> None:
    owner = USERS[0]
    name = f"{publish(running, owner=owner)}.v1"
    home = next(engine for engine in engines if engine.url == homes(running, [owner])[owner])
    home.away = True
    for _ in range(3):
        asked_as(running, owner, stream=stream)
    second = next(engine for engine in engines if engine.requests)
    assert second is not home
    until(lambda: asked_as(running, owner) == 1)
    assert set(second.adapters) == {name}
    assert running.http().get("/ready").status_code == 200
    home.restart()
    home.away = False
    until(lambda: homes(running, [owner])[owner] == home.url)
    until(lambda: asked_as(running, owner) == 1 and set(home.adapters) == {name})
    assert running.http().delete(f"/v1/users/{owner.user}").status_code == 200
    assert not any(engine.adapters for engine in engines)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "fault",
    [Script(status=500), Script(hang=True, tokens=[]), Script(status=503), Script(status=429), Script(status=502)],
)
def test_what_one_engine_cannot_bear_is_not_tried_on_all(
    start: Start, engines: list[FakeEngine], stream: bool, fault: Script
) -> None:
    running = start(engine_url=",".join(engine.url for engine in engines), engine_read_timeout=1)
    for engine in engines:
        engine.enqueue(fault)
    answer = running.http().post("/v1/chat/completions", json=ask(stream=stream))
    refused = fault.status in (429, 502, 503)
    assert sum(len(engine.requests) for engine in engines) == (3 if refused else 1)
    assert '"error":{' in answer.text


def test_an_erasure_is_not_over_while_an_engine_is_away(running: Running, engines: list[FakeEngine]) -> None:
    owner = USERS[0]
    publish(running, owner=owner)
    home = next(engine for engine in engines if engine.adapters)
    home.away = True
    assert running.http().delete(f"/v1/users/{owner.user}").status_code == 202
    assert home.adapters
    home.away = False
    until(lambda: not home.adapters, 20)


def test_when_all_are_away_it_says_so(running: Running, engines: list[FakeEngine]) -> None:
    asked_as(running, USERS[0])
    for engine in engines:
        engine.away = True
    answer = running.http().post("/v1/chat/completions", json=ask())
    assert answer.status_code == 503
    assert running.http().get("/ready").status_code == 503


async def test_an_engine_with_another_model_answers_nobody(engines: list[FakeEngine]) -> None:
    several = made(engines[0].url, engines[1].url)
    several.replicas[1].engine.base_model = "another"
    await several.check(several.replicas[0])
    with pytest.raises(EngineUnavailable, match="all engines must serve one model"):
        await several.check(several.replicas[1])
    for replica in several.replicas:
        await replica.engine.close()
