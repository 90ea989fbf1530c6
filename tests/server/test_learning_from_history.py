"""A client that only sends chats teaches by its history: found after the answer, once, its own user's alone."""

from typing import Any

import httpx

from tests.server.conftest import Running, Start, until
from tests.server.fake_engine import MODEL, Script

SLOW = 120.0
DRAFT = "Dear Sam, the meeting is at nine on Friday in the large room. Kind regards, Ann"
EDIT = "Hi Sam, the meeting is at nine on Friday in the large room. Ann"
ASKED = {"role": "user", "content": "Write to Sam"}
NEXT = {"role": "user", "content": "Thanks. When does the train leave?"}


def talk(http: httpx.Client, *messages: dict[str, Any], **more: Any) -> str:
    response = http.post("/v1/chat/completions", json={"model": MODEL, "messages": list(messages), **more})
    assert response.status_code == 200, response.text
    return str(response.json()["id"])


def found(http: httpx.Client) -> list[dict[str, Any]]:
    return list(http.get("/v1/feedback", params={"source": "history"}).json()["data"])


def asked(running: Running, user: str = "ann") -> tuple[httpx.Client, str]:
    http = running.http(headers={"X-User-Id": user})
    http.timeout = httpx.Timeout(SLOW)
    running.engine.enqueue(Script(tokens=[DRAFT]))
    return http, talk(http, ASKED)


def test_an_edited_answer_is_found_once_and_stays_erased(running: Running) -> None:
    http, id = asked(running)
    for _ in range(2):
        talk(http, ASKED, {"role": "assistant", "content": EDIT}, NEXT)
    (edit,) = until(lambda: found(http), SLOW)
    assert (edit["type"], edit["completion_id"], edit["status"]) == ("edit", id, "pending")
    assert http.delete(f"/v1/feedback/{edit['id']}").status_code == 200
    talk(http, ASKED, {"role": "assistant", "content": EDIT}, NEXT)
    talk(http, ASKED, {"role": "assistant", "content": f"{EDIT} Smith"}, NEXT)
    (other,) = until(lambda: found(http), SLOW)
    assert other["id"] != edit["id"], "what was erased is not found again, what came after it is"


def test_what_the_user_sent_and_erased_is_not_found_again(running: Running) -> None:
    http, id = asked(running)
    for about in ({"type": "edit", "edited_text": EDIT}, {"type": "comment", "comment": "no, shorter"}):
        sent = http.post("/v1/feedback", json={"completion_id": id, **about}).json()["id"]
        assert http.delete(f"/v1/feedback/{sent}").status_code == 200
    talk(http, ASKED, {"role": "assistant", "content": EDIT}, NEXT)
    talk(http, ASKED, {"role": "assistant", "content": DRAFT}, {"role": "user", "content": "no, shorter"})
    talk(http, ASKED, {"role": "assistant", "content": f"{EDIT} Smith"}, NEXT)
    (edit,) = until(lambda: found(http), SLOW)
    assert f"{EDIT} Smith" in http.get("/v1/users/ann/export").text
    assert edit["type"] == "edit", "and nothing of what was erased"


def test_who_remarks_on_an_answer_does_not_accept_it(running: Running) -> None:
    http, _ = asked(running)
    talk(http, ASKED, {"role": "assistant", "content": DRAFT}, {"role": "user", "content": "in German please"})
    talk(http, ASKED, {"role": "assistant", "content": DRAFT}, {"role": "user", "content": "When does my train go?"})
    (one,) = until(lambda: found(http), SLOW)
    assert one["signal"] == "accepted"
    assert one["created_at"] >= http.get("/v1/turns").json()["data"][0]["created_at"], "of the last request alone"


def test_what_is_not_to_be_stored_or_is_somebody_elses_is_not_looked_at(running: Running) -> None:
    http, id = asked(running)
    bob = running.http(headers={"X-User-Id": "bob"})
    edited = {"role": "assistant", "content": EDIT}
    talk(http, ASKED, edited, NEXT, attune={"store": False})
    talk(bob, ASKED, edited, NEXT)
    talk(http, ASKED, {"role": "assistant", "content": DRAFT}, NEXT)
    (accepted,) = until(lambda: found(http), SLOW)
    assert (accepted["signal"], accepted["completion_id"]) == ("accepted", id)
    assert found(bob) == []


def test_nothing_is_looked_at_where_it_is_turned_off(start: Start) -> None:
    running = start(history_days=0)
    http, _ = asked(running)
    id = talk(http, ASKED, {"role": "assistant", "content": EDIT}, NEXT)
    lines = http.get("/v1/users/ann/export").text
    assert '"request_sha256": null' in lines
    assert found(http) == []
    assert http.get(f"/v1/turns/{id}").status_code == 200
