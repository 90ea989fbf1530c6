"""Lists page by page: newest first, by a cursor that deletions do not spoil, of one user or one tenant alone."""

from typing import Any

import httpx
import pytest

from store import keys
from tests.server.conftest import Running, Start, ask, until
from tests.server.dialects.test_dialects import AS_ANN


@pytest.fixture
def running(start: Start, database_url: str) -> Running:
    return start(database_url=database_url)


def fill(http: httpx.Client, user: str, count: int = 5) -> tuple[list[str], list[str]]:
    """Ids of answers and of feedback on them, oldest first."""
    headers, answers, given = {"X-User-Id": user}, [], []
    for number in range(count):
        answers.append(http.post("/v1/chat/completions", json=ask(), headers=headers).json()["id"])
        body: dict[str, Any] = {"completion_id": answers[-1], "type": "thumbs", "thumb": "up"}
        if number % 2:
            body = {"completion_id": answers[-1], "type": "edit", "edited_text": f"Better {number}"}
        given.append(http.post("/v1/feedback", json=body, headers=headers).json()["id"])
    return answers, given


def walk(http: httpx.Client, path: str, **query: Any) -> list[str]:
    ids: list[str] = []
    while True:
        page = http.get(path, params={"limit": 2, **query}).json()
        assert len(page["data"]) <= 2
        ids += [one["id"] for one in page["data"]]
        assert page["has_more"] == (page["next_cursor"] is not None)
        if not page["has_more"]:
            return ids
        query["cursor"] = page["next_cursor"]


def test_a_users_turns_and_feedback_come_newest_first(running: Running) -> None:
    http = running.http()
    answers, given = fill(http, "ann")
    fill(http, "bob", 2)
    http.headers.update(AS_ANN)
    assert walk(http, "/v1/turns") == answers[::-1]
    assert walk(http, "/v1/feedback") == given[::-1]
    assert walk(http, "/v1/feedback", type="edit") == [given[3], given[1]]
    assert walk(http, "/v1/feedback", status="pending") == [given[3], given[1]]
    assert walk(http, "/v1/feedback", completion_id=answers[2]) == [given[2]]
    assert walk(http, "/v1/turns", adapter_version=1) == []
    assert walk(http, "/v1/turns", partial="false") == answers[::-1]
    third = http.get(f"/v1/turns/{answers[2]}").json()["created_at"]
    assert walk(http, "/v1/turns", created_after=third) == answers[:1:-1]
    assert walk(http, "/v1/turns", created_before=third) == answers[1::-1]
    told = http.get("/v1/turns").json()["data"][0]
    assert "request" not in told
    assert told["usage"] == {"prompt_tokens": 7, "completion_tokens": 4}


def test_what_is_deleted_between_two_pages_spoils_nothing(running: Running) -> None:
    http = running.http(headers=AS_ANN)
    _, given = fill(http, "ann")
    page = http.get("/v1/feedback", params={"limit": 2}).json()
    for id in (given[3], given[2]):
        assert http.delete(f"/v1/feedback/{id}").status_code in (200, 202)
    rest = http.get("/v1/feedback", params={"limit": 2, "cursor": page["next_cursor"]}).json()
    assert [one["id"] for one in rest["data"]] == [given[1], given[0]]
    assert not rest["has_more"]


def test_a_tenants_users_and_nobody_elses(running: Running) -> None:
    clients = []
    for tenant in ("one", "two"):
        _, key = running.services.database.write_now(keys.create, tenant, "test")
        clients.append(running.http(headers={"Authorization": f"Bearer {key}"}))
    until(lambda: running.http().get("/v1/models").status_code == 401)
    one, two = clients
    for name in ("a", "b", "c", "%_", "d/e"):
        assert (
            one.put(
                f"/v1/users/{httpx.URL(path='/' + name).raw_path.decode()[1:].replace('/', '%2F')}/values",
                json={"values": []},
            ).status_code
            == 200
        )
    assert two.put("/v1/users/z/values", json={"values": []}).status_code == 200
    assert walk(one, "/v1/users") == ["d/e", "%_", "c", "b", "a"]
    assert walk(two, "/v1/users") == ["z"]
    assert walk(one, "/v1/users", created_before=1.0) == []


@pytest.mark.parametrize("path", ["/v1/turns", "/v1/feedback", "/v1/users"])
def test_what_a_page_may_not_be(running: Running, path: str) -> None:
    http = running.http(headers=AS_ANN)
    half = "WzEuMCwgIlx1ZDgwMCJd"  # an id of half a character
    wrong = {"cursor": ["x", "", "W10", "WyJhIiwiYiJd", "\u00e9", half], "limit": ["0", "101", "x", str(2**63)]}
    wrong |= {"created_after": ["nan", "-1", "1e300"], "created_before": ["inf"]}
    for name, values in wrong.items():
        for value in values:
            answer = http.get(path, params={name: value})
            assert (answer.status_code, answer.json()["error"]["param"]) == (400, name), (name, value)
    if path != "/v1/users":
        assert running.http().get(path).json()["error"]["param"] == "X-User-Id"
