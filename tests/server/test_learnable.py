"""What a request or an edit may hold without losing what the edit teaches."""

from typing import Any

import pytest

from preference.learning.prompt_file import GENERAL
from tests.server.conftest import Running, Start, ask, until
from tests.server.fake_engine import Script

AS_ANN = {"X-User-Id": "ann"}
DRAFT = "Hello Ann! 😀 We were at the lake 🎉 and the water was warm ✨ and the sun was out 🌞 all day long!"
EDIT = "Hello Ann. We were at the lake and the water was warm and the sun was out all day long."


def learned(running: Running, request: str, draft: str, edited_text: str) -> dict[str, Any]:
    """What became of an edit, over the public API."""
    running.engine.enqueue(Script(tokens=[draft]))
    http = running.http(headers=AS_ANN)
    id = http.post("/v1/chat/completions", json=ask(request)).json()["id"]
    sent = http.post("/v1/feedback", json={"type": "edit", "completion_id": id, "edited_text": edited_text})
    assert sent.status_code == 202, sent.text

    def resolved() -> dict[str, Any] | None:
        told: dict[str, Any] = http.get(f"/v1/feedback/{sent.json()['id']}").json()
        return told if told["status"] != "pending" else None

    told: dict[str, Any] = until(resolved)
    return told


@pytest.fixture
def learning(start: Start, database_url: str) -> Running:
    return start(worker_in_process=True, learner_prompt=GENERAL, database_url=database_url)


@pytest.mark.parametrize("request_", ["Write an email\0 to Ann", "\0\0\0", "Write \x01\x02 \ufffe an email"], ids=repr)
@pytest.mark.parametrize("draft", [DRAFT, f"{DRAFT}\0"], ids=["draft", "draft-nul"])
def test_control_characters_keep_no_edit_from_teaching(learning: Running, request_: str, draft: str) -> None:
    """PostgreSQL holds no NUL: the context that a preference was learned in has none."""
    told = learned(learning, request_, draft, EDIT)
    assert told["status"] == "learned", told
    http = learning.http(headers=AS_ANN)
    assert "emoji" in http.get("/v1/users/ann/preferences").text
    again = http.post("/v1/chat/completions", json=ask(request_)).json()
    assert "Do not use emojis." in [one["text"] for one in again["attune"]["preferences"]]


def test_an_edit_of_a_hundred_thousand_characters_is_learned_from(learning: Running) -> None:
    """It is shortened for whoever has a context: no request to the engine is longer than some thousand characters."""
    edited = "\n".join(f"- Point {number} of the long report, in plain words" for number in range(1, 2200))[:98_700]
    draft = " ".join(f"Point {number} of the long report, in plain words." for number in range(1, 400))
    told = learned(learning, "Report, please", draft, edited)
    assert told["status"] in ("learned", "nothing_learned"), told
    for sent in learning.engine.requests:
        assert len(str(sent["messages"])) < 60_000
