"""Two servers of one database have one limit between them; a count that does not answer leaves each its own."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from server.admission.limits import Limits
from server.errors import TooManyRequests
from store import keys, limits, tables
from store.database import Database
from store.limits import Demand, Limit, State
from store.owner import Owner
from tests.server.admission.spender import KEY, USER
from tests.server.conftest import Running, Start, ask, until
from tests.server.dialects.test_dialects import DIALECTS
from tests.server.fake_engine import Script
from tests.server.observability.test_metrics import value

ROOT = Path(__file__).resolve().parents[3]
CLIENTS = st.lists(st.lists(st.integers(1, 400), min_size=3, max_size=12), min_size=4, max_size=12)
LIMITS = st.fixed_dictionaries(
    {
        "requests_per_minute": st.sampled_from([0, 40, 100_000]),
        "tokens_per_minute": st.sampled_from([0, 3000, 10_000_000]),
        "tokens_per_day": st.integers(500, 8000),
        "in_flight": st.integers(1, 12),
    }
)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@settings(
    max_examples=4,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(servers=st.lists(CLIENTS, min_size=2, max_size=2), key=LIMITS, user=LIMITS)
def test_two_servers_never_overspend(
    database: Database, servers: list[Any], key: dict[str, int], user: dict[str, int]
) -> None:
    database.write_now(lambda c: c.execute(sqlalchemy.delete(tables.limits)))
    url = database.url.render_as_string(hide_password=False)
    plans = [
        {"url": url, "key": key, "user": user, "clients": clients, "seed": number}
        for number, clients in enumerate(servers)
    ]
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.server.admission.spender", json.dumps(plan)], cwd=ROOT, stdout=subprocess.PIPE
        )
        for plan in plans
    ]
    told = [json.loads(one.communicate(timeout=120)[0]) for one in running]
    assert [one.returncode for one in running] == [0, 0]
    had = [one for each in told for one in each["had"]]
    asked = sum(len(sizes) for clients in servers for sizes in clients)
    assert len(had) + sum(each["refused"] for each in told) == asked
    assert had
    spent = sum(tokens for *_, tokens in had)
    seconds = max(end for _, end, _ in had) - min(start for start, *_ in had)
    moments = sorted([(start, 1) for start, *_ in had] + [(end, -1) for _, end, _ in had])
    most = max(accumulate(step for _, step in moments))
    for limit, subject in ((key, limits.of_key("key")), (user, limits.of_user(USER))):
        assert spent <= limit["tokens_per_day"]
        assert most <= limit["in_flight"]
        for rate, taken in (("requests_per_minute", len(had)), ("tokens_per_minute", spent)):
            assert not limit[rate] or taken <= limit[rate] * (1 + (seconds + 1) / 60)
        assert database.read_now(limits.spent_today, "t", subject) == spent  # and nothing is held that was not taken


def client(running: Running, key: str, **headers: str) -> httpx.Client:
    return running.http(headers={"Authorization": f"Bearer {key}", **headers})


def chat(http: httpx.Client, **more: Any) -> httpx.Response:
    return http.post("/v1/chat/completions", json=ask(**more))


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_the_budget_of_a_user_holds_over_two_servers_and_usage_tells_it(start: Start, database_url: str) -> None:
    shared = {"database_url": database_url, "tokens_per_day_per_user": 2000}
    one, two = start(**shared), start(**shared)
    id, key = one.services.database.write_now(keys.create, "acme", "test")
    time.sleep(1.1)
    with ThreadPoolExecutor(8) as pool:
        of_maria = [client(server, key, **{"X-User-Id": "maria"}) for server in (one, two) * 4]
        answers = list(pool.map(lambda http: [chat(http, max_tokens=100) for _ in range(60)], of_maria))
    answered = [answer for each in answers for answer in each if answer.status_code == 200]
    refused = [answer for each in answers for answer in each if answer.status_code != 200]
    spent = sum(answer.json()["usage"]["total_tokens"] for answer in answered)
    assert spent <= 2000
    assert len(answered) + len(refused) == 8 * 60
    last = refused[-1]
    assert last.status_code == 429
    assert last.json()["error"]["code"] == "rate_limit_exceeded"
    assert "This user may have 2,000 tokens a day (UTC)" in last.json()["error"]["message"]
    assert 0 < int(last.headers["Retry-After"]) <= limits.DAY
    assert last.headers["x-ratelimit-limit-tokens"] == "2000"
    assert int(last.headers["x-ratelimit-remaining-tokens"]) < 100 + 512 + 200  # what one more answer might take
    other = client(two, key, **{"X-User-Id": "bob"})
    assert chat(other, max_tokens=100).status_code == 200

    def usage(**asked: Any) -> dict[str, Any]:
        answer = client(one, key).get("/v1/usage", params=asked)
        assert answer.status_code == 200, answer.text
        told: dict[str, Any] = answer.json()
        return told

    def total(of: dict[str, Any]) -> int:
        return sum(day["prompt_tokens"] + day["completion_tokens"] for day in of["data"])

    until(lambda: total(usage(user="maria")) == spent)
    told = usage(user="maria")
    assert [day["requests"] for day in told["data"]] == [len(answered)]
    (budget,) = told["budgets"]
    assert (budget["of"], budget["limit"], budget["used"]) == ("user", 2000, spent)
    assert 0 < budget["resets_at"] - time.time() <= limits.DAY
    until(lambda: total(usage()) == total(usage(user="maria")) + total(usage(user="bob")) > spent)
    assert total(usage(key=id)) == total(usage())
    for asked, status in (
        ({"key": "unknown"}, 404),
        ({"key": id, "user": "maria"}, 400),
        ({"since": "3000-01-01"}, 400),
        ({"since": "9999-12-31", "until": "9999-12-31"}, 200),
        ({"until": "0001-01-05"}, 200),
    ):
        assert client(one, key).get("/v1/usage", params=asked).status_code == status
    metrics = one.http().get("/metrics").text
    assert value(one, "attune_limited_requests_total", limit="tokens_per_day", of="user")
    assert "maria" not in metrics
    assert client(one, key).delete("/v1/users/maria").status_code in (200, 202)
    assert usage(user="maria")["data"] == []
    assert usage(user="maria")["budgets"][0]["used"] == 0
    assert total(usage()) > spent  # the key's days say nothing of whom


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.path)
def test_each_route_counts_what_its_engine_says(start: Start, dialect: Any, stream: bool) -> None:
    running = start(tokens_per_day=100_000, tokens_per_minute=1_000_000, answer_tokens=1000)
    asked = {**dialect.ask(user="ann"), "stream": stream}
    for personal in ({}, {"attune": {"store": False}}, {"attune": {"personalize": "off"}}):
        assert running.http().post(dialect.path, json={**asked, **personal}).status_code == 200
    names = ("max_tokens", "max_completion_tokens", "max_output_tokens")
    assert [any(sent.get(name) for name in names) for sent in running.engine.requests] == [True] * 3
    http = running.http()
    until(lambda: [day["requests"] for day in http.get("/v1/usage").json()["data"]] == [3])
    days = http.get("/v1/usage").json()["data"]
    assert sum(day["prompt_tokens"] + day["completion_tokens"] for day in days) == 3 * 11
    # On a slow machine a count may come too late: the answer is counted alone, and what was taken is given back.
    until(lambda: http.get("/v1/usage").json()["budgets"][0]["used"] == 3 * 11)


def test_a_budget_outlives_the_server_and_a_token_spends_its_makers(start: Start) -> None:
    first = start(tokens_per_day=3000)
    id, key = first.services.database.write_now(keys.create, "acme", "test", tokens_per_day=2000)
    time.sleep(1.1)
    http = client(first, key)
    first.engine.enqueue(Script(tokens=["a"] * 500))
    assert chat(http, max_tokens=1000).status_code == 200
    assert chat(http, max_tokens=100).status_code == 200
    made = http.post("/v1/users/ann/tokens", json={}).json()
    second = start(tokens_per_day=3000)
    used = 500 + 4 + 2 * 7
    until(lambda: client(second, key).get("/v1/usage").json()["budgets"][0]["used"] == used)
    of_ann = client(second, made["token"])
    refused = chat(of_ann, max_tokens=1000)
    assert refused.status_code == 429
    assert f"{2000 - used:,} are left" in refused.json()["error"]["message"]
    refused = chat(of_ann, max_tokens=2000)
    assert "ask for fewer with max_tokens." in refused.json()["error"]["message"]
    assert chat(of_ann, max_tokens=100).status_code == 200
    until(lambda: client(second, key).get("/v1/usage").json()["budgets"][0]["used"] > used)
    assert of_ann.get("/v1/usage").json()["user"] == "ann"
    assert of_ann.get("/v1/usage?user=bob").status_code == 400
    assert of_ann.get("/v1/usage", headers={"X-User-Id": "bob"}).status_code == 403
    assert of_ann.get(f"/v1/usage?key={id}").status_code == 403


def test_an_answer_that_is_left_counts_what_it_may_have_taken(start: Start) -> None:
    running = start(tokens_per_day=100_000)
    running.engine.enqueue(Script(hang=True, tokens=["a", "b"]), Script(hang=True))
    sent = running.client().chat.completions.create(**ask(stream=True, max_tokens=1000))
    next(sent)
    sent.close()

    def used() -> int:
        return int(running.http().get("/v1/usage").json()["budgets"][0]["used"])

    until(lambda: 500 < used() < 1000)  # a byte of what was said and asked is a token at most
    before = used()
    with pytest.raises(httpx.TimeoutException):
        running.http().post("/v1/chat/completions", json=ask(max_tokens=1000), timeout=0.5)
    until(lambda: used() > before + 1000)  # nothing was told of it


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_places_are_shared(start: Start, database_url: str) -> None:
    shared = {"database_url": database_url, "in_flight_per_key": 2, "shared_limits": True}
    one, two = start(**shared), start(**shared)
    one.engine.enqueue(Script(hang=True), Script(hang=True))
    with ThreadPoolExecutor(2) as pool:
        for server in (one, two):
            pool.submit(lambda client: client.chat.completions.create(**ask()), server.client(timeout=4))
        until(lambda: len(one.engine.requests) == 2)
        for server in (one, two):
            refused = server.http().get("/v1/models")
            assert refused.status_code == 429
            assert "2 requests at a time" in refused.json()["error"]["message"]
    until(lambda: one.http().get("/v1/models").status_code == 200)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("how", ["slow", "wrong", "empty"])
def test_where_the_common_count_fails_the_local_limit_holds(
    start: Start, postgresql: sqlalchemy.Engine, database_url: str, how: str
) -> None:
    running = start(database_url=database_url, requests_per_minute=4, shared_limits=True)
    http = running.http()
    assert http.get("/v1/models").headers["x-ratelimit-remaining-requests"] == "3"
    admin = sqlalchemy.create_engine(database_url, isolation_level="AUTOCOMMIT", poolclass=sqlalchemy.NullPool)
    with admin.connect() as breaking:
        if how == "slow":
            breaking = breaking.execution_options(isolation_level="READ COMMITTED")
            breaking.exec_driver_sql("LOCK TABLE limits IN ACCESS EXCLUSIVE MODE")
        elif how == "wrong":
            breaking.exec_driver_sql("ALTER TABLE limits RENAME TO elsewhere")
        else:
            breaking.exec_driver_sql("DELETE FROM limits")
        try:
            began = time.monotonic()
            assert [http.get("/v1/models").status_code for _ in range(4)] == [200, 200, 200, 429]
            assert time.monotonic() - began < 10  # it is not waited for each time
            assert value(running, "attune_shared_limits_up") == (how == "empty")
        finally:
            if how == "slow":
                breaking.rollback()
            elif how == "wrong":
                breaking.exec_driver_sql("ALTER TABLE elsewhere RENAME TO limits")


def test_what_was_spent_while_the_count_was_away_is_added_to_it(database: Database) -> None:
    database.write_now(lambda c: c.execute(sqlalchemy.text("ALTER TABLE limits RENAME TO elsewhere")))

    async def spend() -> bool:
        own = Database(database.url.render_as_string(hide_password=False))
        limited = Limits(of_key=Limit(tokens_per_day=1000), total=9, database=own, clock=lambda: time.time() + 300)
        running = asyncio.create_task(limited.run())
        aside = await limited.set_aside(KEY, None, 400)
        assert aside is not None
        assert not limited.common_up
        with pytest.raises(TooManyRequests, match="600 are left, and this answer may take 700"):
            await limited.set_aside(KEY, None, 700)
        aside.spent = 150
        limited.settle(aside)
        await asyncio.to_thread(
            database.write_now, lambda c: c.execute(sqlalchemy.text("ALTER TABLE elsewhere RENAME TO limits"))
        )
        await asyncio.to_thread(until, lambda: limited.common_up)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await limited.close()
        return True

    assert asyncio.run(spend())
    assert database.read_now(limits.spent_today, "t", limits.of_key(KEY.id)) == 150


def test_a_count_that_cannot_be_reached_leaves_the_local_limit() -> None:
    async def spend() -> None:
        nowhere = Database("postgresql+psycopg://a:b@127.0.0.1:9/x", busy_seconds=1)
        limited = Limits(of_key=Limit(requests_per_minute=2), total=9, database=nowhere, shared=True)
        for _ in range(2):
            limited.leave(await limited.enter(KEY))
        with pytest.raises(TooManyRequests):
            await limited.enter(KEY)
        assert not limited.common_up
        await limited.close()

    asyncio.run(spend())


def test_hosts_whose_clocks_differ_by_minutes_share_a_rate(database: Database) -> None:
    async def spend() -> list[int]:
        url = database.url.render_as_string(hide_password=False)

        def server(late: float) -> Limits:
            clock: Callable[[], float] = lambda: time.time() + late  # noqa: E731
            limit = Limit(requests_per_minute=6, tokens_per_day=100)
            return Limits(of_key=limit, total=9, database=Database(url), shared=True, clock=clock)

        servers, waits = [server(-240), server(240)], list[int]()
        for number in range(16):
            try:
                servers[number % 2].leave(await servers[number % 2].enter(KEY))
            except TooManyRequests as error:
                waits.append(int(error.headers["Retry-After"]))
        for one in servers:
            await one.close()
        return waits

    if database.url.get_backend_name() == "postgresql":  # SQLite's servers are on one machine
        waits = asyncio.run(spend())
        assert len(waits) == 16 - 6
        assert all(1 <= seconds <= 10 for seconds in waits)


def test_places_of_a_server_that_was_killed_are_free_after_its_lease(database: Database) -> None:
    demand = Demand("t", limits.of_key("k"), Limit(in_flight=1), in_flight=1)
    taken = database.write_now(limits.take, [demand], "killed")
    state: State = taken.states[0]
    with pytest.raises(limits.Exceeded):
        state.take(demand, taken.now + limits.LEASE - 1, "other")
    database.write_now(limits.renew, "t", [demand.subject], "killed")
    assert state.take(demand, taken.now + limits.LEASE + 1, "other").under_way.keys() == {"other"}


@settings(max_examples=200)
@given(
    steps=st.lists(st.tuples(st.integers(1, 500), st.integers(0, 500), st.floats(0, 30_000)), max_size=40),
    limit=st.integers(1, 1500),
)
def test_a_day_never_has_more_than_its_budget(steps: list[tuple[int, int, float]], limit: int) -> None:
    """One after another, each given back later than the next one came, over several days."""
    state, now, of_day = State(), 1e9, dict[int, int]()
    demand = Demand("t", "s", Limit(tokens_per_day=limit, tokens_per_minute=limit), tokens=1)
    held, refusals = list[tuple[limits.Debt, int]](), list[limits.Exceeded]()
    for most, took, wait in steps:
        now += wait
        try:
            state = state.take(Demand("t", "s", demand.limit, tokens=most), now, "a")
        except limits.Exceeded as error:
            refusals.append(error)
            continue
        day, took = int(now // limits.DAY), min(took, most)
        of_day[day] = of_day.get(day, 0) + took
        held.append((limits.Debt(demand.limit, day, took - most), took))
        if len(held) > 1:
            state = state.give(held.pop(0)[0], now, "a")
    assert all(spent <= limit for spent in of_day.values())
    assert all(error.left <= limit for error in refusals)
    assert all(error.seconds is None or 0 < error.seconds <= limits.DAY for error in refusals)


def test_what_an_erased_user_spent_is_forgotten(database: Database) -> None:
    demand = Demand("t", limits.of_user("ann"), Limit(tokens_per_day=10), tokens=9)
    for tenant in ("t", "t2"):
        database.write_now(limits.take, [Demand(tenant, demand.subject, demand.limit, tokens=9)], "a")
    database.write_now(limits.forget, Owner("t", "ann"))
    assert [database.read_now(limits.spent_today, tenant, demand.subject) for tenant in ("t", "t2")] == [0, 9]


def test_servers_that_share_a_database_share_its_secret(start: Start, tmp_path: Path) -> None:
    shared = {"database_url": f"sqlite:///{tmp_path}/data/attune.db"}
    one, two = start(**shared), start(**shared, data_dir=tmp_path / "other")
    for server in (one, two):
        assert chat(server.http()).status_code == 200
    assert (tmp_path / "data" / "secret").read_bytes() != (tmp_path / "other" / "secret").read_bytes()
    first, second = (sent["cache_salt"] for sent in one.engine.requests)
    assert first == second  # what the engine has in its cache of this tenant serves both
