"""Limits hold for each API key, and for all requests together; what is refused says when to come back."""

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import openai
import pytest

from server.admission.limits import Limits, Pass
from server.errors import Overloaded, TooManyRequests
from server.settings import Settings
from store import keys
from store.keys import Key
from store.limits import Limit
from tests.server.conftest import Running, Start, ask, until
from tests.server.fake_engine import Script

ONE = Key("1", "one", "n", 0.0)
TWO = Key("2", "one", "n", 0.0)


def new_key(running: Running, tenant: str, **limits: int) -> str:
    return running.services.database.write_now(keys.create, tenant, "test", **limits)[1]


def limits(*, requests_per_minute: int = 0, in_flight: int = 64, total: int = 256, **more: Any) -> Limits:
    limit = Limit(requests_per_minute=requests_per_minute, in_flight=in_flight)
    return Limits(of_key=limit, total=total, **more)


def enter(limits: Limits, key: Key) -> Pass:
    return asyncio.run(limits.enter(key))


def ask_once(limits: Limits, key: Key) -> dict[str, str]:
    entered = enter(limits, key)
    limits.leave(entered)
    return entered.headers


def exhaust(limits: Limits, key: Key) -> None:
    while True:
        ask_once(limits, key)


def test_a_key_has_its_requests_at_once_and_then_waits() -> None:
    limited = limits(requests_per_minute=3)
    told = [ask_once(limited, ONE) for _ in range(3)]
    assert [one["x-ratelimit-remaining-requests"] for one in told] == ["2", "1", "0"]
    assert {one["x-ratelimit-limit-requests"] for one in told} == {"3"}
    resets = [float(one["x-ratelimit-reset-requests"].removesuffix("s")) for one in told]
    assert resets == sorted(resets)
    assert resets[-1] <= 60
    for _ in range(5):  # and what is refused does not count
        with pytest.raises(TooManyRequests) as caught:
            ask_once(limited, ONE)
    assert 1 <= int(caught.value.headers["Retry-After"]) <= 20
    assert caught.value.headers["x-ratelimit-remaining-requests"] == "0"
    assert ask_once(limited, TWO)["x-ratelimit-remaining-requests"] == "2"


def test_after_the_seconds_told_a_request_is_let_in() -> None:
    limited = limits(requests_per_minute=40)
    with pytest.raises(TooManyRequests) as caught:
        exhaust(limited, ONE)
    time.sleep(int(caught.value.headers["Retry-After"]))
    ask_once(limited, ONE)


def test_a_keys_own_limits_go_before_the_defaults() -> None:
    limited = limits(requests_per_minute=1)
    own = Key("own", "one", "n", 0.0, requests_per_minute=2)
    free = Key("free", "one", "n", 0.0, requests_per_minute=0)
    assert [ask_once(limited, own)["x-ratelimit-limit-requests"] for _ in range(2)] == ["2", "2"]
    assert [ask_once(limited, free) for _ in range(50)] == [{}] * 50


def test_a_keys_own_places_go_before_the_default() -> None:
    limited, own = limits(in_flight=1), Key("own", "one", "n", 0.0, in_flight=2)
    _, *held = [enter(limited, key) for key in (own, own, ONE)]
    for key, in_flight, entered in zip((own, ONE), (2, 1), held, strict=True):
        with pytest.raises(TooManyRequests, match=f"{in_flight} requests at a time"):
            enter(limited, key)
        limited.leave(entered)
        enter(limited, key)


def test_what_is_under_way_counts_for_as_long_as_it_takes() -> None:
    now = 1e9
    limited = Limits(of_key=Limit(in_flight=1), total=9, clock=lambda: now)
    entered = enter(limited, ONE)
    now += 3600
    with pytest.raises(TooManyRequests):
        enter(limited, ONE)
    limited.leave(entered)
    enter(limited, ONE)


def test_a_request_refused_for_those_under_way_spends_nothing() -> None:
    limited = limits(requests_per_minute=3, in_flight=1)
    entered = enter(limited, ONE)
    assert entered.headers["x-ratelimit-remaining-requests"] == "2"
    for _ in range(5):
        with pytest.raises(TooManyRequests):
            enter(limited, ONE)
    limited.leave(entered)
    assert enter(limited, ONE).headers["x-ratelimit-remaining-requests"] == "1"


def test_the_keys_of_a_tenant_share_its_places() -> None:
    limited, other = limits(in_flight=2, of_tenant=3), Key("3", "two", "n", 0.0)
    first, *_ = [enter(limited, key) for key in (ONE, ONE, TWO, other)]
    with pytest.raises(TooManyRequests, match="a tenant may have 3 requests at a time"):
        enter(limited, TWO)
    enter(limited, other)
    limited.leave(first)
    enter(limited, TWO)


def test_by_default_a_tenant_leaves_a_quarter_for_others() -> None:
    assert Settings().in_flight_of_tenant == 192
    assert Settings(in_flight_total=3).in_flight_of_tenant == 3
    assert Settings(in_flight_per_tenant=250).in_flight_of_tenant == 250
    assert [Settings().slots_of_tenant(several=several) for several in (False, True)] == [12, 9]
    assert Settings(adapter_places_per_tenant=5).slots_of_tenant(several=False) == 5


def test_the_server_has_a_limit_of_its_own() -> None:
    limited = limits(total=2)
    for _ in range(2):
        limited.arrive()
    with pytest.raises(Overloaded):
        limited.arrive()
    limited.depart()
    limited.arrive()


def test_the_rates_remembered_are_bounded() -> None:
    limited = limits(requests_per_minute=1, remembered=2)
    ask_once(limited, ONE)
    with pytest.raises(TooManyRequests):
        ask_once(limited, ONE)
    for other in "ab":
        ask_once(limited, Key(other, "one", "n", 0.0))
    ask_once(limited, ONE)  # forgotten


def test_beyond_the_rate_the_official_client_sees_a_rate_limit_error(start: Start) -> None:
    running = start(requests_per_minute=2)
    one, two = new_key(running, "one"), new_key(running, "two")
    time.sleep(1.1)
    client = running.client(api_key=one)
    answer = client.chat.completions.with_raw_response.create(**ask())
    assert answer.headers["x-ratelimit-limit-requests"] == "2"
    assert answer.headers["x-ratelimit-remaining-requests"] == "1"
    assert answer.headers["x-ratelimit-reset-requests"].endswith("s")
    with client.chat.completions.create(**ask(stream=True)) as chunks:
        assert list(chunks)
    asked = len(running.engine.requests)
    with pytest.raises(openai.RateLimitError) as caught:
        client.chat.completions.create(**ask())
    told = caught.value.body
    assert isinstance(told, dict)
    assert told == {
        "message": told["message"],
        "type": "rate_limit_error",
        "param": None,
        "code": "rate_limit_exceeded",
    }
    assert 1 <= int(caught.value.response.headers["Retry-After"]) <= 30
    assert caught.value.response.headers["x-ratelimit-remaining-requests"] == "0"
    assert len(running.engine.requests) == asked
    running.client(api_key=two).chat.completions.create(**ask())
    for path in ("/health", "/ready", "/docs", "/openapi.json"):
        for _ in range(5):
            answered = running.http(headers={"Authorization": f"Bearer {one}"}).get(path)
            assert answered.status_code == 200
            assert "x-ratelimit-limit-requests" not in answered.headers


def test_a_key_with_its_own_rate(start: Start) -> None:
    running = start(requests_per_minute=1)
    free, strict = new_key(running, "one", requests_per_minute=0), new_key(running, "one", requests_per_minute=2)
    time.sleep(1.1)
    http = running.http(headers={"x-api-key": free})
    assert {http.get("/v1/models").status_code for _ in range(5)} == {200}
    http = running.http(headers={"x-api-key": strict})
    assert [http.get("/v1/models").status_code for _ in range(3)] == [200, 200, 429]


def test_without_a_limit_no_header_speaks_of_one(running: Running) -> None:
    assert "x-ratelimit-limit-requests" not in running.http().get("/v1/models").headers


@contextmanager
def hanging(running: Running, *clients: openai.OpenAI) -> Iterator[None]:
    """One chat of each client that hangs in the engine, until their time is out."""
    running.engine.enqueue(*[Script(hang=True)] * len(clients))
    with ThreadPoolExecutor(len(clients)) as pool:
        under_way = [pool.submit(lambda c: c.chat.completions.create(**ask()), client) for client in clients]
        until(lambda: len(running.engine.requests) == len(clients))
        yield
        for attempt in under_way:
            assert isinstance(attempt.exception(), openai.APITimeoutError)


def refused(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert int(answer.headers["Retry-After"]) >= 1
    error: dict[str, Any] = answer.json()["error"]
    return error


def test_beyond_the_total_nobody_gets_in(start: Start) -> None:
    running = start(in_flight_per_key=2, in_flight_total=3)
    one, two = new_key(running, "one"), new_key(running, "two")
    time.sleep(1.1)
    clients = [running.client(api_key=key, timeout=6) for key in (one, one, two)]
    with hanging(running, *clients):
        for key in (one, two, "att-unknown"):  # an unknown key costs no look-up then
            answer = running.http(headers={"Authorization": f"Bearer {key}"}).get("/v1/models")
            assert refused(answer, 503)["code"] == "overloaded"
        assert running.http().get("/health").status_code == 200
    until(lambda: running.http(headers={"Authorization": f"Bearer {one}"}).get("/v1/models").status_code == 200)


def test_one_key_cannot_take_every_place(start: Start) -> None:
    running = start(in_flight_per_key=1, in_flight_total=3)
    one, sibling = new_key(running, "one"), new_key(running, "one")
    wide = new_key(running, "one", in_flight=2)
    time.sleep(1.1)
    with hanging(running, running.client(api_key=one, timeout=6), running.client(api_key=wide, timeout=6)):
        error = refused(running.http(headers={"x-api-key": one}).get("/v1/models"), 429)
        assert (error["type"], error["code"]) == ("rate_limit_error", "rate_limit_exceeded")
        for key in (sibling, wide):
            assert running.http(headers={"x-api-key": key}).get("/v1/models").status_code == 200
    until(lambda: running.http(headers={"x-api-key": one}).get("/v1/models").status_code == 200)


def test_a_stream_under_way_counts(start: Start) -> None:
    running = start(in_flight_per_key=1)
    running.engine.enqueue(Script(hang=True, tokens=["a"]))
    with running.client().chat.completions.create(**ask(stream=True)) as chunks:
        next(chunks)
        refused(running.http().get("/v1/models"), 429)
    until(lambda: running.http().get("/v1/models").status_code == 200)
