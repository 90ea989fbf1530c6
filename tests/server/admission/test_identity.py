"""Keys give tenants; without any key only this machine is let in."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import pytest

from server.admission.identity import Identity
from server.errors import StartRefused, Unauthorized
from store import keys
from store.database import Database
from tests.server.conftest import Running, ask


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
    headers = {} if header is None else {b"Authorization": header.encode("latin-1")}
    for method, path in (("GET", "/v1/models"), ("POST", "/v1/chat/completions"), ("GET", "/v1/nowhere")):
        answer = running.http().request(method, path, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert answer.json()["error"]["code"] == "invalid_api_key"
    assert running.http().get("/health").status_code == 200


def test_the_key_may_come_in_the_header_that_anthropics_clients_send(running: Running) -> None:
    _, key = new_key(running, "one")
    time.sleep(1.1)
    http = running.http()
    assert http.get("/v1/models", headers={"x-api-key": key}).status_code == 200
    assert http.get("/v1/models", headers={"x-api-key": key, "Authorization": "Basic eDp5"}).status_code == 200
    for wrong in ({"x-api-key": "att-wrong"}, {"x-api-key": ""}, {"x-api-key": key, "Authorization": "Bearer wrong"}):
        assert http.get("/v1/models", headers=wrong).status_code == 401


def test_without_any_key_nobody_gets_in_from_elsewhere(running: Running) -> None:
    http = running.http()
    assert http.get("/v1/models").status_code == 200
    for client in ("203.0.113.9", "10.0.0.1", "2001:db8::1", "elsewhere"):  # as a proxy on this machine tells it
        answer = http.get("/v1/models", headers={"X-Forwarded-For": client})
        assert answer.status_code == 401
        assert "attune keys create" in answer.json()["error"]["message"]
    _, key = new_key(running, "one")
    time.sleep(1.1)
    headers = {"X-Forwarded-For": "203.0.113.9", "Authorization": f"Bearer {key}"}
    assert http.get("/v1/models", headers=headers).status_code == 200


FOREIGN = [
    {"Host": "evil.example"},
    {"Host": "evil.example:8000"},
    {"Host": "127.0.0.1.evil.example"},
    {"Host": "localhost.evil.example"},
    {"Host": "10.0.0.7"},
    {"Host": "[::1"},
    {"Origin": "https://evil.example"},
    {"Origin": "http://127.0.0.1.evil.example"},
    {"Origin": "null"},
]


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_without_any_key_no_page_of_another_site_gets_in(running: Running, headers: dict[str, str]) -> None:
    http = running.http(headers=headers)
    tried = [("GET", "/v1/models"), ("GET", "/v1/users/maria/preferences"), ("POST", "/v1/users/maria/adapters")]
    tried.append(("POST", "/v1/users/maria/adapters/import"))
    for method, path in tried:
        answer = http.request(method, path)
        assert answer.status_code == 401, path
        assert "attune keys create" in answer.json()["error"]["message"]
    if "Host" in headers:  # nor does it learn who the tenants are
        assert http.get("/metrics").status_code == 404
    _, key = new_key(running, "one")
    time.sleep(1.1)
    assert http.get("/v1/models", headers={"Authorization": f"Bearer {key}"}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [{"Host": "localhost:8000"}, {"Host": "LOCALHOST"}, {"Host": "[::1]:8000"}, {"Host": "attune.localhost"},
     {"Host": "127.0.0.1:1", "Origin": "http://localhost:3000"}],
)  # fmt: skip
def test_without_any_key_this_machine_gets_in_by_any_of_its_names(running: Running, headers: dict[str, str]) -> None:
    assert running.http(headers=headers).get("/v1/models").status_code == 200
    assert running.http(headers=headers).get("/metrics").status_code == 200


class Counting(Database):
    """Counts the reads of keys."""

    reads = 0

    async def read(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self.reads += fn is keys.find
        return await super().read(fn, *args, **kwargs)


async def test_asking_again_with_an_unknown_key_costs_no_query(tmp_path: Path, sqlite_template: Path) -> None:
    shutil.copy(sqlite_template, tmp_path / "attune.db")
    database = Counting(f"sqlite:///{tmp_path}/attune.db")
    try:
        _, key = database.write_now(keys.create, "one", "test")
        identity = Identity(database, loopback=False)
        assert not await identity.start()
        for _ in range(50):
            assert (await identity.key(f"Bearer {key}", None, ("203.0.113.9", 1))).tenant == "one"
            with pytest.raises(Unauthorized):
                await identity.key("Bearer att-wrong", None, ("127.0.0.1", 1))
            with pytest.raises(Unauthorized):
                await identity.key(None, None, None)
        assert database.reads < 50
    finally:
        database.close()


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


async def test_a_server_whose_last_key_was_revoked_stays_closed_when_it_starts_again(
    tmp_path: Path, sqlite_template: Path
) -> None:
    shutil.copy(sqlite_template, tmp_path / "attune.db")
    database = Database(f"sqlite:///{tmp_path}/attune.db")
    try:
        id, _ = database.write_now(keys.create, "one", "test")
        database.write_now(keys.revoke, id)
        identity = Identity(database, loopback=True)
        assert not await identity.start()
        with pytest.raises(Unauthorized):
            await identity.key(None, None, ("127.0.0.1", 1))
    finally:
        database.close()


async def test_an_open_server_binds_to_loopback_alone(tmp_path: Path, sqlite_template: Path) -> None:
    database = Database(f"sqlite:///{sqlite_template}")
    try:
        assert await Identity(database, loopback=True).start()
        with pytest.raises(StartRefused, match="attune keys create"):
            await Identity(database, loopback=False).start()
    finally:
        database.close()
