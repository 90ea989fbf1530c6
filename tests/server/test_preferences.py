"""A wish that is stated again is the same wish."""

from typing import Any

import pytest

from tests.server.conftest import Running, Start, ask

PATH = "/v1/users/ann/preferences"


@pytest.fixture
def running(start: Start, database_url: str) -> Running:
    return start(database_url=database_url)


def state(running: Running, text: str, **more: Any) -> tuple[int, str]:
    answer = running.http().post(PATH, json={"text": text, **more})
    return answer.status_code, answer.json()["id"]


def prompt(running: Running) -> str:
    running.http().post("/v1/chat/completions", json=ask(), headers={"X-User-Id": "ann"})
    sent: str = running.engine.requests[-1]["messages"][-1]["content"]
    return sent


def test_the_same_wish_four_times_is_one(running: Running) -> None:
    """mem0ai/mem0 and others keep each repetition: deleting one then changes nothing."""
    status, id = state(running, "Use bullet points")
    assert status == 201
    for text in ("Use bullet points", "use bullet points.", "  USE  bullet points! "):
        assert state(running, text) == (200, id)
    assert prompt(running).lower().count("use bullet points") == 1
    assert running.http().delete(f"{PATH}/{id}").status_code == 200
    assert "bullet" not in prompt(running).lower()
    assert state(running, "Use bullet points")[0] == 201


def test_it_holds_in_each_context_that_it_was_stated_for(running: Running) -> None:
    _, id = state(running, "Use bullets", context="Write an email to Ann")
    assert state(running, "Use bullets", context="Summarise this report") == (200, id)
    assert state(running, "Use bullets", context="Summarise this report") == (200, id)
    told = running.http().get(f"{PATH}/{id}").json()
    assert [context["text"] for context in told["contexts"]] == ["Write an email to Ann", "Summarise this report"]
    assert state(running, "use bullets") == (200, id)
    assert running.http().get(f"{PATH}/{id}").json()["contexts"] == []
    assert state(running, "Use bullets", context="Anything") == (200, id)
    assert running.http().get(f"{PATH}/{id}").json()["contexts"] == []


def test_a_correction_to_what_another_one_says_is_refused(running: Running) -> None:
    _, one = state(running, "Be brief")
    _, two = state(running, "Be short")
    answer = running.http().patch(f"{PATH}/{two}", json={"text": "be brief."})
    assert (answer.status_code, answer.json()["error"]["param"]) == (409, "text")
    assert one in answer.json()["error"]["message"]
    assert running.http().patch(f"{PATH}/{two}", json={"text": "Be SHORT"}).json()["text"] == "Be SHORT"
    running.http().delete(f"{PATH}/{one}")
    assert running.http().patch(f"{PATH}/{two}", json={"text": "be brief."}).status_code == 200
