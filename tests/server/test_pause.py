"""A user who pauses learning: answered with what is known, and nothing new is stored."""

import json
import time
from typing import Any

import httpx
import pytest

from tests.server.conftest import Running, Start, ask, until
from tests.server.dialects.test_dialects import DIALECTS
from tests.server.fake_engine import Script
from tests.server.test_learning_from_history import ASKED, DRAFT, EDIT, NEXT, SLOW, asked, found, talk
from tests.server.test_user_import import PAIR

AS_ANN = {"X-User-Id": "ann"}
ANN = "/v1/users/ann"


@pytest.fixture
def http(start: Start, database_url: str) -> httpx.Client:
    """As Ann, of whom one answer and one preference are held."""
    running = start(database_url=database_url)
    http = running.http(headers=AS_ANN)
    assert http.post("/v1/chat/completions", json=ask()).status_code == 200
    assert http.post(f"{ANN}/preferences", json={"text": "Be brief"}).status_code == 201
    return http


def pause(http: httpx.Client, paused: bool = True) -> dict[str, Any]:
    answer = http.patch(ANN, json={"paused": paused})
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    assert told == http.get(ANN).json()
    assert told in http.get("/v1/users").json()["data"]
    return told


def ids(http: httpx.Client) -> list[str]:
    return [one["id"] for one in http.get("/v1/turns").json()["data"]]


def test_while_it_is_paused_no_turn_is_stored_and_what_is_known_is_applied(http: httpx.Client) -> None:
    before = ids(http)
    assert http.get(ANN).json()["paused"] is False
    told = pause(http)
    assert (told["id"], told["paused"]) == ("ann", True)
    assert told["active_at"] == pytest.approx(time.time(), abs=60)
    for dialect in DIALECTS:
        assert http.post(dialect.path, json=dialect.ask()).status_code == 200
    answer = http.post("/v1/chat/completions", json=ask()).json()
    assert [one["text"] for one in answer["attune"]["preferences"]] == ["Be brief"]
    streamed = http.post("/v1/chat/completions", json=ask(stream=True)).text
    assert '"personalized":"retrieval"' in streamed
    assert ids(http) == before
    assert pause(http, False)["paused"] is False
    id = http.post("/v1/chat/completions", json=ask()).json()["id"]
    assert ids(http) == [id, *before]


FEEDBACK: list[dict[str, Any]] = [
    {"type": "edit", "edited_text": "Hi"},
    {"type": "comment", "comment": "Too long."},
    {"type": "rating", "rating": 5},
    {"type": "thumbs", "thumb": "up"},
    {"type": "signal", "signal": "copied"},
    {"type": "outcome", "name": "replied", "value": 1.0},
]


def test_while_it_is_paused_no_feedback_is_taken(http: httpx.Client) -> None:
    (id,) = ids(http)
    pause(http)
    bodies = [{"completion_id": id, **body} for body in FEEDBACK]
    demonstration = {"type": "demonstration", "messages": [{"role": "user", "content": "Write"}], "text": "So"}
    for body in (*bodies, demonstration):
        answer = http.post("/v1/feedback", json=body)
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error["param"]) == (409, "conflict", "user"), body
        assert "Learning is paused" in error["message"]
        assert "PATCH" in error["message"]
    assert http.get("/v1/feedback").json()["data"] == []
    assert ids(http) == [id]
    pause(http, False)
    assert http.post("/v1/feedback", json=bodies[0]).status_code == 202


def test_while_it_is_paused_nothing_is_imported_and_wishes_may_be_stated(http: httpx.Client) -> None:
    pause(http)
    line = json.dumps(PAIR)
    kind = {"Content-Type": "application/jsonl"}
    answer = http.post(f"{ANN}/import", content=line, headers=kind)
    assert (answer.status_code, answer.json()["error"]["param"]) == (409, "user")
    assert http.post(f"{ANN}/preferences", json={"text": "No emojis"}).status_code == 201
    assert http.put(f"{ANN}/values", json={"values": [{"preference": "Be warm"}]}).status_code == 200
    pause(http, False)
    assert http.post(f"{ANN}/import", content=line, headers=kind).json()["taken"]["demonstrations"] == 1


def test_a_pause_is_one_users_and_is_known_before_the_first_request(http: httpx.Client) -> None:
    assert http.get("/v1/users/bob").status_code == 404
    assert http.patch("/v1/users/bob", json={"paused": True}).json()["paused"] is True
    assert http.post("/v1/chat/completions", json=ask(), headers={"X-User-Id": "bob"}).status_code == 200
    assert http.get("/v1/turns", headers={"X-User-Id": "bob"}).json()["data"] == []
    assert http.get(ANN).json()["paused"] is False
    lines = map(json.loads, http.get("/v1/users/bob/export").text.splitlines())
    assert [(one["object"], one["paused"]) for one in lines] == [("user", True)]


@pytest.mark.parametrize(
    ("body", "param"),
    [({}, "paused"), ({"paused": "yes"}, "paused"), ({"paused": None}, "paused"), ({"paused": True, "x": 1}, "x")],
)
def test_what_is_refused_names_the_field(running: Running, body: dict[str, Any], param: str) -> None:
    answer = running.http().patch(ANN, json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


def test_an_answer_that_is_under_way_as_learning_is_paused_is_not_stored(running: Running) -> None:
    http = running.http(headers=AS_ANN)
    running.engine.enqueue(Script(delay=0.2))
    with http.stream("POST", "/v1/chat/completions", json=ask(stream=True)) as answer:
        pieces = answer.iter_text()
        next(pieces)
        pause(running.http())
        rest = "".join(pieces)
    assert "[DONE]" in rest
    assert ids(http) == []


def test_histories_teach_nothing_while_learning_is_paused(running: Running) -> None:
    http, id = asked(running)
    edited = {"role": "assistant", "content": EDIT}
    pause(http)
    talk(http, ASKED, edited, NEXT)
    pause(http, False)
    talk(http, ASKED, {"role": "assistant", "content": DRAFT}, NEXT)
    (accepted,) = until(lambda: found(http), SLOW)
    assert (accepted["signal"], accepted["completion_id"]) == ("accepted", id)


def test_a_token_that_may_change_its_users_data_may_pause(running: Running) -> None:
    app = running.http()
    assert app.put(f"{ANN}/values", json={"values": []}).status_code == 200
    for scopes, status in ((["data"], 200), (["chat", "feedback"], 403)):
        token = app.post(f"{ANN}/tokens", json={"scopes": scopes}).json()["token"]
        theirs = running.http(headers={"Authorization": f"Bearer {token}"})
        assert theirs.patch(ANN, json={"paused": True}).status_code == status
        assert theirs.get(ANN).status_code == status
        assert theirs.patch("/v1/users/bob", json={"paused": True}).status_code == 403
