"""``attune.best_of``: of several answers the one that keeps all wishes, and an honest word where it cannot be told."""

import asyncio
from typing import Any

import pytest

from server.choosing import Choosing
from tests.server.conftest import Running, ask
from tests.server.fake_engine import Script
from tests.server.test_errors import check

SAID = ["The shop is shut.", "cheers banana The shop is shut.", "banana banana banana The shop."]
WISHES = [{"preference": "banana", "subdimension": "fruit"}, {"preference": "cheers"}]


def asked(running: Running, *, user: str | None = "ann", said: list[str] = SAID, **attune: Any) -> dict[str, Any]:
    running.engine.enqueue(Script(tokens=[said[0]], others=said[1:]))
    body = ask(attune={"best_of": 3, "values": WISHES, **attune})
    headers = {"X-User-Id": user} if user else {}
    response = running.http().post("/v1/chat/completions", json=body, headers=headers)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def test_the_answer_that_keeps_all_wishes_is_given_and_kept(running: Running) -> None:
    running.engine.hears = True
    answer = asked(running)
    assert running.engine.requests[-1]["n"] == 3
    (choice,) = answer["choices"]
    assert (choice["index"], choice["message"]["content"]) == (0, SAID[1])
    told = answer["attune"]["best_of"]
    assert (told["n"], told["chosen"], told.get("reason")) == (3, 1, None)
    assert told["worth"][1] == max(told["worth"])
    assert len(set(told["worth"])) == 3
    turn = running.http().get(f"/v1/turns/{answer['id']}", headers={"X-User-Id": "ann"}).json()
    assert turn["answers"] == [SAID[1]]
    assert answer["model"] == "fake-model"
    assert answer["usage"]["completion_tokens"] == 3


def test_one_wish_alone_takes_what_has_most_of_it(running: Running) -> None:
    running.engine.hears = True
    assert asked(running, values=WISHES[:1])["attune"]["best_of"]["chosen"] == 2


def test_a_learned_preference_counts_too(running: Running) -> None:
    running.engine.hears = True
    http = running.http(headers={"X-User-Id": "ann"})
    assert http.post("/v1/users/ann/preferences", json={"text": "cheers"}).status_code == 201
    assert asked(running, values=[])["attune"]["best_of"]["chosen"] == 1
    assert asked(running, values=[], user="bob")["attune"].get("best_of") is None, "another user's wish"


def test_a_masked_value_does_not_count(running: Running) -> None:
    running.engine.hears = True
    masked = [{**WISHES[0], "masked": True}, WISHES[1]]
    answer = asked(running, values=masked)
    assert "banana" not in str(running.engine.requests[-1]["messages"])
    assert [value["preference"] for value in answer["attune"]["values"]] == ["cheers"]
    assert answer["attune"]["best_of"]["chosen"] == 1


def test_a_strength_is_aimed_at_from_both_sides(running: Running) -> None:
    running.engine.hears = True
    some = ["none at all here", "banana then nothing more", "banana banana banana banana"]
    chosen = [
        asked(running, user=None, said=some, values=[{"preference": "banana", "strength": strength}])
        for strength in (0.0, 0.5, 1.0)
    ]
    assert [answer["attune"]["best_of"]["chosen"] for answer in chosen] == [0, 1, 2]


@pytest.mark.parametrize("scores", ["no", "refuses"])
def test_an_engine_that_scores_nothing_gives_its_first_answer(running: Running, scores: Any) -> None:
    running.engine.scores = scores
    answer = asked(running)
    assert answer["choices"][0]["message"]["content"] == SAID[0]
    told = {"n": 3, "chosen": 0, "reason": "The engine could not score the answers."}
    assert answer["attune"]["best_of"] == told


def test_what_cannot_be_compared_is_said(running: Running) -> None:
    assert asked(running, said=["Same."] * 3)["attune"]["best_of"]["reason"] == "The answers are all the same."
    assert not running.engine.scored
    assert asked(running, said=["", "a", "b"])["attune"]["best_of"]["reason"] == "Not every answer is a text."


def test_without_a_wish_one_answer_is_written(running: Running) -> None:
    answer = asked(running, values=[])
    assert "best_of" not in answer["attune"]
    assert "n" not in running.engine.requests[-1]


def test_greedy_answers_are_asked_for_as_vllm_takes_them(running: Running) -> None:
    running.engine.enqueue(Script(tokens=["Hello"]))
    body = ask(temperature=0, attune={"best_of": 2, "values": WISHES})
    assert running.http().post("/v1/chat/completions", json=body).status_code == 200
    sent = running.engine.requests[-1]
    assert (sent["n"], sent["temperature"], sent["top_k"]) == (2, 1.0, 1)


@pytest.mark.parametrize(
    ("path", "changed", "attune"),
    [
        ("chat/completions", {"stream": True}, {"best_of": 2}),
        ("chat/completions", {"n": 2}, {"best_of": 2}),
        ("chat/completions", {}, {"best_of": 1}),
        ("chat/completions", {}, {"best_of": 5}),
        ("chat/completions", {}, {"best_of": "2"}),
        ("completions", {"prompt": "Dear"}, {"best_of": 2}),
    ],
)
def test_bad_input_names_the_field(
    running: Running, path: str, changed: dict[str, Any], attune: dict[str, Any]
) -> None:
    body = {**ask(), **changed, "attune": attune}
    if "prompt" in changed:
        del body["messages"]
    check(running.http().post(f"/v1/{path}", json=body), 400, "attune.best_of")
    assert not running.engine.requests


async def test_choosing_ends_in_time() -> None:
    class Slow:
        async def score(self, pairs: Any, *, model: str | None = None) -> Any:
            await asyncio.sleep(60)

    request = [{"role": "user", "content": "Hi"}]
    answer = {"choices": [{"index": 1, "message": {"content": "b"}}, {"index": 0, "message": {"content": "a"}}]}
    chosen = await Choosing(system_role=True, seconds=0.05).choose(Slow(), None, request, [], ["x"], answer)
    assert chosen.answer == {"choices": [{"index": 0, "message": {"content": "a"}}]}
    assert "0.05 seconds" in chosen.told["reason"]


def test_a_standing_value_may_have_a_strength_or_be_masked(running: Running) -> None:
    values = [{"preference": "Be brief", "strength": 0.3}, {"preference": "Be formal", "masked": True}]
    put = running.http().put("/v1/users/ann/values", json={"values": values})
    assert put.status_code == 200, put.text
    assert [one.get("strength") for one in running.http().get("/v1/users/ann/values").json()["values"]] == [0.3, None]
