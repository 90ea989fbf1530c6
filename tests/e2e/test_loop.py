"""Chat → edit → preference → better chat, on a real server with real vLLM, through the official client."""

import json

import httpx
import pytest
from openai import BadRequestError, NotFoundError

from lab.render import detect
from lab.style import canonical_phrase
from preference.distance import normalised_distance
from tests.e2e.conftest import People


def test_a_stranger_gets_a_neutral_answer_that_keeps_the_facts(people: People) -> None:
    person = people("client")
    request = person.request("client")
    answer = person.ask(request.text)
    assert answer.attune == {"values": [], "preferences": [], "adapter_version": 0, "personalized": "none"}
    text = answer.choices[0].message.content
    assert request.facts.what in text.lower()
    assert answer.usage.completion_tokens > 10


def test_an_edit_makes_the_next_like_answer_better_and_says_why(people: People) -> None:
    person = people("landlord", "review")
    costs = []
    for _ in range(4):
        request = person.request("landlord")
        answer = person.ask(request.text)
        draft = answer.choices[0].message.content
        wanted = person.simulated.edit(request, draft)
        costs.append(normalised_distance(draft, wanted))
        person.send_edit(answer.id, wanted)
    assert costs[0] > 0.5
    assert costs[-1] <= 0.2 * costs[0]
    assert answer.attune["personalized"] == "retrieval"
    turn = person.http.get(f"/v1/turns/{answer.id}").json()
    assert {p["id"] for p in turn["preferences"]} == {p["id"] for p in answer.attune["preferences"]}
    assert "<preferences>" in json.dumps(turn["prompt"])


def test_a_correction_by_the_user_wins_at_once_and_a_deletion_is_final(people: People) -> None:
    person = people("client")
    request = person.request("client")
    made = person.http.post(f"/v1/users/{person.id}/preferences", json={"text": canonical_phrase("format", "bullets")})
    assert made.status_code in (200, 201), made.text
    shown = detect(person.ask(request.text).choices[0].message.content, request.facts)
    assert shown["format"] == "bullets"
    corrected = canonical_phrase("format", "numbered")
    path = f"/v1/users/{person.id}/preferences/{made.json()['id']}"
    assert person.http.patch(path, json={"text": corrected}).status_code == 200
    shown = detect(person.ask(request.text).choices[0].message.content, request.facts)
    assert shown["format"] == "numbered"
    assert person.http.delete(path).status_code in (200, 204)
    answer = person.ask(request.text)
    assert answer.attune["preferences"] == []
    assert detect(answer.choices[0].message.content, request.facts)["format"] == "default"


def test_values_are_obeyed_and_standing_ones_are_kept(people: People) -> None:
    person = people("news")
    request = person.request("news")
    formal = {"dimension": "style", "subdimension": "tone", "preference": canonical_phrase("tone", "formal")}
    person.ask(request.text)  # makes the user known
    assert person.http.put(f"/v1/users/{person.id}/values", json={"values": [formal]}).status_code == 200
    answer = person.ask(request.text)
    assert detect(answer.choices[0].message.content, request.facts)["tone"] == "formal"
    warm = {**formal, "preference": canonical_phrase("tone", "warm")}
    answer = person.ask(request.text, values=[warm])
    assert detect(answer.choices[0].message.content, request.facts)["tone"] == "warm"


def test_a_stream_says_the_same_and_ends_in_the_attune_object(people: People) -> None:
    person = people("friend")
    request = person.request("friend")
    whole = person.ask(request.text, store=False).choices[0].message.content
    chunks = list(
        person.openai.chat.completions.create(
            model="attune-tiny",
            messages=[{"role": "user", "content": request.text}],
            temperature=0,
            max_tokens=250,
            stream=True,
        )
    )
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == whole
    assert len(chunks) > 10
    assert [hasattr(c, "attune") for c in chunks] == [False] * (len(chunks) - 1) + [True]
    assert person.http.get(f"/v1/turns/{chunks[0].id}").json()["answers"] == [whole]


def test_nothing_is_written_where_it_should_not(people: People) -> None:
    person = people("client")
    request = person.request("client")
    for attune in ({"store": False}, {"personalize": "off"}):
        answer = person.ask(request.text, **attune)
        assert person.http.get(f"/v1/turns/{answer.id}").status_code == 404


def test_feedback_for_somebody_elses_answer_is_refused_as_unknown(people: People) -> None:
    ann, bob = people("client"), people("client", seed=2)
    answer = ann.ask(ann.request("client").text)
    body = {"type": "edit", "completion_id": answer.id, "edited_text": "Mine now."}
    refused = bob.http.post("/v1/feedback", json=body)
    assert (refused.status_code, refused.json()["error"]["param"]) == (404, "completion_id")
    assert bob.http.get(f"/v1/turns/{answer.id}").status_code == 404


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        (b"{", 400, None),
        (b'{"model":"attune-tiny"}', 400, "messages"),
        (b'{"model":"attune-tiny","messages":[{"role":"user","content":"x"}],"cache_salt":"a"}', 400, "cache_salt"),
        (b'{"model":"other","messages":[{"role":"user","content":"x"}]}', 404, "model"),
        (b'{"model":"attune-tiny","messages":[{"role":"user","content":"x"}],"n":5}', 400, "n"),
    ],
)
def test_bad_input_is_named_in_the_openai_envelope(server: str, body: bytes, status: int, param: str | None) -> None:
    headers = {"Content-Type": "application/json", "X-User-Id": "x"}
    answer = httpx.post(f"{server}/v1/chat/completions", content=body, headers=headers)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (status, param)
    assert set(error) == {"message", "type", "param", "code"}


def test_the_official_client_raises_its_own_errors(people: People) -> None:
    person = people("client")
    with pytest.raises(BadRequestError):
        person.ask("x" * 40_000)  # longer than the model's context
    with pytest.raises(NotFoundError):
        person.ask("x", adapter_version=7)


def test_erasing_a_user_leaves_nothing(people: People) -> None:
    person = people("client")
    answer = person.ask(person.request("client").text)
    assert person.http.delete(f"/v1/users/{person.id}").status_code in (200, 204)
    assert person.http.get(f"/v1/turns/{answer.id}").status_code == 404
    assert person.http.get(f"/v1/users/{person.id}/preferences").status_code == 404
