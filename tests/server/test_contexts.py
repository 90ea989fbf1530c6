"""The requests that a preference holds for: one kind alone, told by one request, last used."""

from typing import Any

import pytest

from tests.server.conftest import Running, Start, ask
from tests.server.dialects.test_dialects import AS_ANN


def test_a_preference_is_made_one_for_such_requests_alone(start: Start, database_url: str) -> None:
    running = start(database_url=database_url)
    http = running.http(headers=AS_ANN)
    base = "/v1/users/ann/preferences"
    id = http.post(base, json={"text": "Use bullets"}).json()["id"]
    assert http.get(base).json()["data"][0]["kind"] is None
    changed = http.patch(f"{base}/{id}", json={"context": "Write an email to Ann"}).json()
    assert (changed["id"], changed["source"], changed["standing"]) == (id, "stated", "fixed")
    assert http.get(base).json()["data"][0]["kind"] == "Write an email to Ann"

    def found(request: str) -> list[str]:
        return [one["id"] for one in http.post(f"{base}/search", json={"context": request}).json()["data"]]

    assert found("Write an email to Ann") == [id]
    assert found("Completely different words here") == []
    http.patch(f"{base}/{id}", json={"context": "Sum up this review"})
    assert found("Write an email to Ann") == []
    assert [one["text"] for one in http.get(f"{base}/{id}").json()["contexts"]] == ["Sum up this review"]
    assert http.post(base, json={"text": "Use bullets"}).status_code == 200  # always, again
    assert found("Completely different words here") == [id]


def test_preferences_of_one_kind_are_told_by_one_request(running: Running) -> None:
    http = running.http()
    base = "/v1/users/ann/preferences"
    for text, context in (
        ("Greet with Dear", "Write an email to Ann"),
        ("Sign with Bo", "Write an email to Bob"),
        ("Be brief", "Sum up this review"),
        ("No emojis", None),
    ):
        http.post(base, json={"text": text, "context": context} if context else {"text": text})
    kinds = {one["text"]: one["kind"] for one in http.get(base).json()["data"]}
    assert kinds == {
        "Greet with Dear": "Write an email to Ann", "Sign with Bo": "Write an email to Ann",
        "Be brief": "Sum up this review", "No emojis": None,
    }  # fmt: skip


def test_a_preference_says_when_it_was_last_used(running: Running) -> None:
    http = running.http(headers=AS_ANN)
    base = "/v1/users/ann/preferences"
    id = http.post(base, json={"text": "Use bullets"}).json()["id"]
    assert http.get(f"{base}/{id}").json()["used_at"] is None
    answer = http.post("/v1/chat/completions", json=ask()).json()
    assert [one["id"] for one in answer["attune"]["preferences"]] == [id]
    turn = http.get(f"/v1/turns/{answer['id']}").json()
    assert http.get(f"{base}/{id}").json()["used_at"] == turn["created_at"]


@pytest.mark.parametrize("context", ["", "x" * 4001, 1])
def test_what_a_context_cannot_be(running: Running, context: Any) -> None:
    base = "/v1/users/ann/preferences"
    id = running.http().post(base, json={"text": "Use bullets"}).json()["id"]
    refused = running.http().patch(f"{base}/{id}", json={"context": context})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "context")
