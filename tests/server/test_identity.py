"""Keys give tenants; limits hold for each of them."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import openai
import pytest

from preference import keys
from preference.database import Database
from server.errors import StartRefused
from server.identity import Identity
from tests.server.conftest import Running, Start, ask, until
from tests.server.fake_engine import Script


def new_key(running: Running, tenant: str) -> tuple[str, str]:
    return running.services.database.write_now(keys.create, tenant, "test")


def test_keys_keep_tenants_apart(running: Running) -> None:
    (_, one), (_, two) = new_key(running, "one"), new_key(running, "two")
    time.sleep(1.1)
    as_ann = {"X-User-Id": "ann"}
    http = running.http(headers={"Authorization": f"Bearer {one}", **as_ann})
    made = http.post("/v1/users/ann/preferences", json={"text": "Use bullets"}).json()
    answer = running.client(api_key=one).chat.completions.create(**ask(), extra_headers=as_ann)
    other = running.http(headers={"Authorization": f"Bearer {two}", **as_ann})
    assert other.get(f"/v1/turns/{answer.id}").status_code == 404
    assert other.get(f"/v1/users/ann/preferences/{made['id']}").status_code == 404
    assert other.delete("/v1/users/ann").status_code == 404
    assert "Use bullets" not in str(running.client(api_key=two).chat.completions.create(**ask(), extra_headers=as_ann))
    salts = {request["cache_salt"] for request in running.engine.requests}
    assert len(salts) == 2
    assert http.get(f"/v1/turns/{answer.id}").status_code == 200


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer att-wrong", "Basic x", "att-wrong", "Bearer \xff"])
def test_without_a_good_key_nobody_gets_in(running: Running, header: str | None) -> None:
    new_key(running, "one")
    time.sleep(1.1)
    headers = {} if header is None else {"Authorization": header.encode("latin-1")}
    for method, path in (("GET", "/v1/models"), ("POST", "/v1/chat/completions"), ("GET", "/v1/nowhere")):
        answer = running.http().request(method, path, headers=headers)  # type: ignore[arg-type]
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert answer.json()["error"]["code"] == "invalid_api_key"
    assert running.http().get("/health").status_code == 200


def test_a_revoked_key_ends_within_two_seconds_and_opens_nothing(running: Running) -> None:
    id, key = new_key(running, "one")
    time.sleep(1.1)
    client = running.client(api_key=key)
    client.models.list()
    running.services.database.write_now(keys.revoke, id)
    time.sleep(2)
    with pytest.raises(openai.AuthenticationError):
        client.models.list()
    assert running.http().get("/v1/models").status_code == 401


async def test_an_open_server_binds_to_loopback_alone(tmp_path: Path, sqlite_template: Path) -> None:
    database = Database(f"sqlite:///{sqlite_template}")
    try:
        assert await Identity(database, loopback=True).start()
        with pytest.raises(StartRefused, match="attune keys create"):
            await Identity(database, loopback=False).start()
    finally:
        database.close()


def test_limits_on_requests_in_flight(start: Start) -> None:
    running = start(in_flight_per_tenant=2, in_flight_total=3)
    (_, one), (_, two) = new_key(running, "one"), new_key(running, "two")
    time.sleep(1.1)
    running.engine.enqueue(*[Script(hang=True)] * 3)
    with ThreadPoolExecutor(3) as pool:
        clients = [running.client(api_key=key, timeout=2) for key in (one, one, two)]
        hanging = [pool.submit(lambda c: c.chat.completions.create(**ask()), client) for client in clients]
        until(lambda: len(running.engine.requests) == 3)
        for key, status in ((one, 503), (two, 503)):
            answer = running.http(headers={"Authorization": f"Bearer {key}"}).get("/v1/models")
            assert answer.status_code == status
            assert answer.headers["Retry-After"]
        for attempt in hanging:
            assert isinstance(attempt.exception(), openai.APITimeoutError)
    until(lambda: running.http(headers={"Authorization": f"Bearer {one}"}).get("/v1/models").status_code == 200)


def test_one_tenant_cannot_take_every_place(start: Start) -> None:
    running = start(in_flight_per_tenant=1, in_flight_total=3)
    running.engine.enqueue(Script(hang=True, tokens=["a"]))
    with running.client().chat.completions.create(**ask(stream=True)) as chunks:
        next(chunks)
        answer = running.http().get("/v1/models")
        assert answer.status_code == 429
        assert answer.json()["error"]["code"] == "rate_limit_exceeded"
        assert answer.headers["Retry-After"]
    until(lambda: running.http().get("/v1/models").status_code == 200)
