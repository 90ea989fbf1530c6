"""What chat UIs say in headers about requests of their own."""

from tests.server.conftest import Running, ask
from tests.server.dialects.test_dialects import DIALECTS


def test_what_an_app_asks_for_itself_is_nothing_personal_and_is_not_kept(running: Running) -> None:
    http = running.http(headers={"X-User-Id": "ann"})
    http.post("/v1/users/ann/preferences", json={"text": "Be brief"})
    for dialect in DIALECTS:
        for more in ({}, {"attune": {"personalize": "retrieval", "adapter_version": 0}}):
            answer = http.post(dialect.path, json=dialect.ask(**more), headers={"X-Attune-Task": "title_generation"})
            assert answer.status_code == 200, answer.text
            assert answer.json()["attune"]["personalized"] == "none"
            assert "Be brief" not in str(running.engine.requests[-1])
    assert http.get("/v1/turns").json()["data"] == []
    streamed = http.post("/v1/chat/completions", json=ask(stream=True), headers={"X-Attune-Task": "tags"})
    assert "[DONE]" in streamed.text
    assert http.get("/v1/turns").json()["data"] == []


def test_an_empty_header_says_nothing(running: Running) -> None:
    """A template that does not apply."""
    http = running.http(headers={"X-User-Id": "ann"})
    http.post("/v1/users/ann/preferences", json={"text": "Be brief"})
    answer = http.post("/v1/chat/completions", json=ask(), headers={"X-Attune-Task": ""})
    assert answer.json()["attune"]["personalized"] == "retrieval"
    assert len(http.get("/v1/turns").json()["data"]) == 1


def test_an_answer_has_the_apps_own_name(running: Running) -> None:
    http = running.http(headers={"X-User-Id": "ann", "X-Attune-Client-Id": "message-1"})
    id = http.post("/v1/chat/completions", json=ask()).json()["id"]
    http.post("/v1/chat/completions", json=ask(attune={"client_id": "other"}))
    sent = http.post("/v1/feedback", json={"type": "edit", "completion_id": "message-1", "edited_text": "Hi"})
    assert sent.json()["completion_id"] == id
    umlaut = http.post("/v1/chat/completions", json=ask(), headers={b"X-Attune-Client-Id": "ü".encode()}).json()["id"]
    sent = http.post("/v1/feedback", json={"type": "edit", "completion_id": "ü", "edited_text": "Hi"})
    assert sent.json()["completion_id"] == umlaut
    refused = http.post("/v1/chat/completions", json=ask(), headers={"X-Attune-Client-Id": "x" * 129})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "X-Attune-Client-Id")


def test_the_document_has_them(running: Running) -> None:
    paths = running.http().get("/openapi.json").json()["paths"]
    for dialect in DIALECTS:
        assert "X-Attune-Task" in [one["name"] for one in paths[dialect.path]["post"]["parameters"]]
