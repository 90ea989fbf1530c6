"""Another model that says what edits show: while it is away edits wait, and what it refuses is told."""

import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from preference.learning.prompt_file import GENERAL
from preference.ports import Generation
from server.engine.learner_model import LearnerModel
from store.errors import EngineFailed, EngineRejected, EngineUnavailable
from tests.server.conftest import Running, Start, ask, until
from tests.server.fake_engine import MODEL, FakeEngine, Script

ASKED = [{"role": "user", "content": "What does the edit show?"}]
CLOSED = "http://127.0.0.1:9"
DRAFT = (
    "The heating in the cellar is repaired on Monday. The water is off until noon on that day. "
    "We kindly ask all of you to fill a bucket in the evening before, and to close the windows."
)
REWORDED = (
    "The heating in the cellar is being repaired on Monday. The water stays off until noon that day. "
    "Would everybody please fill some bucket on the evening before, and keep the windows closed?"
)


@pytest.fixture
def other() -> Iterator[FakeEngine]:
    with FakeEngine() as other:
        yield other


@pytest.fixture
async def model(other: FakeEngine) -> AsyncIterator[LearnerModel]:
    model = LearnerModel(other.url, MODEL, "its-key", 0.5)
    yield model
    await model.close()


async def test_it_is_asked_by_its_name_and_key(model: LearnerModel, other: FakeEngine) -> None:
    other.enqueue(Script(tokens=["- Be", " brief."]))
    assert await model.generate(ASKED, max_tokens=9) == Generation("- Be brief.", 7, 2)
    (sent,) = other.requests
    assert (sent["model"], sent["max_tokens"], sent["temperature"]) == (MODEL, 9, 0)
    assert other.headers[0]["Authorization"] == "Bearer its-key"


@pytest.mark.parametrize("status", [401, 403, 429, 502, 503])
async def test_what_may_pass_is_waited_for(model: LearnerModel, other: FakeEngine, status: int) -> None:
    other.enqueue(Script(status=status, error="no"))
    with pytest.raises(EngineUnavailable, match=r"cannot be reached.*ATTUNE_LEARNER_API_KEY; edits wait") as raised:
        await model.generate(ASKED, max_tokens=9)
    assert not isinstance(raised.value, EngineFailed)


async def test_one_that_is_down_is_waited_for() -> None:
    model = LearnerModel(CLOSED, MODEL, None, 0.5)
    with pytest.raises(EngineUnavailable, match="ATTUNE_LEARNER_URL") as raised:
        await model.generate(ASKED, max_tokens=9)
    assert not isinstance(raised.value, EngineFailed)
    await model.close()


@pytest.mark.parametrize("script", [Script(hang=True), Script(status=500, error="it broke")])
async def test_one_that_is_slow_or_breaks_is_tried_a_few_times(
    model: LearnerModel, other: FakeEngine, script: Script
) -> None:
    other.enqueue(script)
    with pytest.raises(EngineFailed, match="failed, or did not answer in time"):
        await model.generate(ASKED, max_tokens=9)


async def test_a_question_that_is_refused_is_refused_for_good(model: LearnerModel, other: FakeEngine) -> None:
    other.enqueue(Script(status=400, error="the prompt is longer than the context"))
    with pytest.raises(EngineRejected, match="refuses the question: the prompt is longer than the context"):
        await model.generate(ASKED, max_tokens=9)
    with pytest.raises(EngineRejected, match=r"ATTUNE_LEARNER_URL.*does not exist"):
        await model.generate(ASKED, max_tokens=9, model="another")


@pytest.mark.parametrize(
    "answer",
    [
        "<html>Welcome</html>",
        "[]",
        "null",
        "{}",
        '{"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}',
        '{"choices": [{"message": "text"}], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}',
    ],
)
async def test_an_answer_that_is_no_chat_completion_is_told(answer: str) -> None:
    async def say(request: web.Request) -> web.Response:
        return web.Response(text=answer)

    app = web.Application()
    app.router.add_post("/v1/chat/completions", say)
    async with TestServer(app) as server:
        model = LearnerModel(str(server.make_url("")), MODEL, None, 5)
        with pytest.raises(EngineFailed, match="gave an answer that is no chat completion"):
            await model.generate(ASKED, max_tokens=9)
        await model.close()


def edited(running: Running, text: str = REWORDED) -> str:
    """An edit of an answer, accepted; its id."""
    http = running.http(headers={"X-User-Id": "ann"})
    running.engine.enqueue(Script(tokens=[DRAFT]))
    asked = "Write to the tenants: the heating is repaired on Monday, the water is off until noon."
    answer = http.post("/v1/chat/completions", json=ask(asked)).json()
    sent = {"type": "edit", "completion_id": answer["id"], "edited_text": text}
    accepted: str = http.post("/v1/feedback", json=sent).json()["id"]
    return accepted


def told(running: Running, id: str) -> Any:
    return running.http(headers={"X-User-Id": "ann"}).get(f"/v1/feedback/{id}").json()


def learned(running: Running, id: str) -> Any:
    return until(lambda: (held := told(running, id))["status"] != "pending" and held)


def test_while_it_is_away_an_edit_waits_and_is_then_learned_from(start: Start, other: FakeEngine) -> None:
    other.away = True
    running = start(worker_in_process=True, learner_url=other.url, learner_model=MODEL)
    id = edited(running)
    time.sleep(1)
    assert told(running, id)["status"] == "pending"
    other.enqueue(Script(tokens=["- Be warm."]))
    other.away = False
    held = learned(running, id)
    assert "Be warm." in [candidate["text"] for candidate in held["candidates"]]
    assert len(other.requests) == 1


def test_a_refused_question_fails_with_the_reason(start: Start, other: FakeEngine) -> None:
    other.enqueue(Script(status=400, error="the prompt is longer than the context"))
    running = start(worker_in_process=True, learner_url=other.url, learner_model=MODEL)
    held = learned(running, edited(running))
    assert held["status"] == "failed"
    assert "ATTUNE_LEARNER_URL" in held["reason"]
    assert "longer than the context" in held["reason"]


def test_what_an_edit_might_show_and_what_became_of_it_is_told(start: Start, engine: FakeEngine) -> None:
    """The scripted engine finds every text as likely with any wish: nothing that is proposed is borne out."""
    running = start(worker_in_process=True, learner_prompt=GENERAL)
    id = edited(running)
    engine.enqueue(Script(tokens=["- Be warm.\n- The user changed it."]))
    held = learned(running, id)
    candidates = {candidate["text"]: candidate for candidate in held["candidates"]}
    assert candidates["Be warm."]["verdict"] == "refused"
    assert candidates["Be warm."]["reason"] == "it makes the edit no likelier"
    assert candidates["Be warm."]["lift"] == 0
    assert candidates["The user changed it."]["lift"] is None


def test_what_was_counted_is_learned_without_a_model_and_stands_by_its_evidence(start: Start) -> None:
    running = start(worker_in_process=True, learner_prompt=GENERAL)
    http = running.http(headers={"X-User-Id": "ann"})
    bullets = "- Heating repaired on Monday\n- Water off until noon\n- Fill a bucket before\n- Close the windows"
    held = learned(running, edited(running, bullets))
    assert held["status"] == "learned"
    assert {candidate["verdict"] for candidate in held["candidates"]} == {"learned"}
    assert all(candidate["reason"].startswith("counted: ") for candidate in held["candidates"])
    assert len(running.engine.requests) == 1, "the answer's own"
    for one in http.get("/v1/users/ann/preferences").json()["data"]:
        assert (one["evidence"], one["standing"]) == (1.0, "tentative")
        shown = http.get(f"/v1/users/ann/preferences/{one['id']}").json()
        assert [context["weight"] for context in shown["contexts"]] == [1.0]
        http.patch(f"/v1/users/ann/preferences/{one['id']}", json={"locked": True})
        assert http.get(f"/v1/users/ann/preferences/{one['id']}").json()["standing"] == "fixed"
    stated = http.post("/v1/users/ann/preferences", json={"text": "Be kind"}).json()
    assert (stated["evidence"], stated["standing"]) == (0.0, "fixed")
