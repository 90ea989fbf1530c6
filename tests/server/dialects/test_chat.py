"""Answering: what reaches the engine, what comes back, what is stored."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest

from preference import context_rows, preferences
from store import turns, users
from store.errors import NotFound
from store.owner import Owner
from store.users import User
from tests.server.conftest import Running, Start, ask, until
from tests.server.fake_engine import MODEL, FakeEngine, Script

ANN = Owner("local", "ann")
AS_ANN = {"X-User-Id": "ann"}


def attune_of(answer: Any) -> dict[str, Any]:
    extra: dict[str, Any] = answer.model_extra["attune"]
    return extra


def state(running: Running, text: str, user: str = "ann", **more: str) -> str:
    made = running.http().post(f"/v1/users/{user}/preferences", json={"text": text, **more})
    assert made.status_code == 201, made.text
    return str(made.json()["id"])


def learned(running: Running, text: str) -> float:
    """A preference of Ann's, learned from a request as ``ask`` makes it; when it was learned."""
    embedder = running.services.embedder

    def rows(c: Any) -> float:
        users.ensure(c, ANN)
        made = preferences.create(c, ANN, text, "learned")
        context = ask()["messages"][0]["content"]
        context_rows.add(
            c, ANN, made.id, feedback_id="fb", text=context, embedder=embedder.name, vector=embedder.embed([context])[0]
        )
        return made.updated_at

    return running.services.database.write_now(rows)


def test_a_whole_answer_is_the_engines_own_bytes_plus_attune(running: Running) -> None:
    answer = running.http().post("/v1/chat/completions", json=ask(), headers=AS_ANN)
    assert answer.status_code == 200
    before, _, after = answer.content.partition(b',"attune":')
    assert before + b"}" == running.engine.sent[0]
    assert after.startswith(b'{"values":[],"preferences":[],"adapter_version":0,"personalized":"none"}')


def test_a_turn_is_stored_with_its_provenance(running: Running) -> None:
    answer = running.client().chat.completions.create(**ask("Hi"), extra_headers=AS_ANN)
    turn = running.services.database.read_now(turns.get, ANN, answer.id)
    assert list(turn.request) == [{"role": "user", "content": "Hi"}]
    assert list(turn.answers) == ["Hello world!"]
    assert (turn.prompt_tokens, turn.completion_tokens, turn.partial) == (7, 4, False)
    assert (turn.model, turn.adapter_version, turn.personalized) == (MODEL, 0, "none")


@pytest.mark.parametrize("stream", [False, True])
def test_values_and_preferences_enter_the_prompt(running: Running, stream: bool) -> None:
    running.http().put("/v1/users/ann/values", json={"values": [{"preference": "Be brief", "subdimension": "length"}]})
    everywhere = state(running, "End with a question")
    alike = state(running, "Use bullets", context="Write an email to Ann")
    state(running, "Use tables", context="completely other words here")
    state(running, "Shout", user="bob")
    wish = {"values": [{"preference": "Assume an expert", "dimension": "background_knowledge"}]}
    body = ask("Write an email to Ann", stream=stream, extra_body={"attune": wish})
    answer = running.client().chat.completions.create(**body, extra_headers=AS_ANN)
    told = attune_of(list(answer)[-1] if stream else answer)
    assert {p["id"] for p in told["preferences"]} == {everywhere, alike}
    assert [v["preference"] for v in told["values"]] == ["Be brief", "Assume an expert"]
    assert told["personalized"] == "retrieval"
    system, user = running.engine.requests[0]["messages"]
    assert system["role"] == "system"
    assert "- Be brief\n- Assume an expert" in system["content"]
    assert "- End with a question" in user["content"]
    assert "- Use bullets" in user["content"]
    assert "tables" not in str(running.engine.requests)
    assert "Shout" not in str(running.engine.requests)


def test_a_request_passes_through_unchanged(running: Running) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "x-extra": [1, None]}}}
    sent = ask(
        "Hi",
        tools=[tool],
        tool_choice={"type": "function", "function": {"name": "f"}},
        parallel_tool_calls=False,
        response_format={"type": "json_object"},
        logprobs=True,
        top_logprobs=3,
        seed=1,
        stop=["x"],
        n=2,
        temperature=0.5,
        top_p=0.9,
        max_completion_tokens=9,
        presence_penalty=0.1,
        frequency_penalty=0.2,
        logit_bias={"5": -1.0},
        user="ann",
        safety_identifier="ann",
        metadata={"a": "b"},
    )
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    sent["messages"] = [
        {"role": "developer", "content": "Be kind."},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "done"},
        {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
    ]
    running.client().chat.completions.create(**sent)
    got = running.engine.requests[0]
    assert len(got.pop("cache_salt")) == 64
    about_the_user = {"user", "safety_identifier", "metadata"}  # nothing that the engine needs to know
    assert got == {name: value for name, value in sent.items() if name not in about_the_user}


def test_only_what_the_engine_may_see_is_sent(running: Running) -> None:
    running.http().post(
        "/v1/chat/completions", json=ask(), headers={**AS_ANN, "Cookie": "secret", "X-Request-Id": "mine"}
    )
    assert "attune" not in running.engine.requests[0]
    assert not {"Cookie", "X-User-Id", "X-Request-Id"} & set(running.engine.headers[0])


def test_the_cache_salt_is_one_per_tenant_and_survives_a_restart(start: Start, engine: FakeEngine) -> None:
    first, second = start(), start()
    for running in (first, second):
        running.client().chat.completions.create(**ask(), extra_headers=AS_ANN)
        running.client().chat.completions.create(**ask(), extra_headers={"X-User-Id": "bob"})
    assert len({request["cache_salt"] for request in engine.requests}) == 1


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("how", ["no user", "off", "store"])
def test_nothing_is_written(running: Running, how: str, stream: bool) -> None:
    headers = {} if how == "no user" else AS_ANN
    asked: dict[str, dict[str, Any]] = {"no user": {}, "off": {"personalize": "off"}, "store": {"store": False}}
    wish = {"values": [{"preference": "Be brief"}], **asked[how]}
    answer = running.http().post("/v1/chat/completions", json=ask(attune=wish, stream=stream), headers=headers)
    assert answer.status_code == 200
    assert b'"attune":{"values":[{' in answer.content
    assert "Be brief" in running.engine.requests[0]["messages"][0]["content"]
    assert running.services.database.read_now(users.get, ANN) is None


def test_off_ignores_what_is_known_and_store_false_reads_it(running: Running) -> None:
    running.http().put("/v1/users/ann/values", json={"values": [{"preference": "Be brief"}]})
    state(running, "Use bullets")
    client = running.client()
    for wish in ({"personalize": "off"}, {"store": False}):
        answer = client.chat.completions.create(**ask(), extra_headers=AS_ANN, extra_body={"attune": wish})
        with pytest.raises(NotFound):
            running.services.database.read_now(turns.get, ANN, answer.id)
    off, unstored = running.engine.requests
    assert off["messages"] == ask()["messages"]
    assert "Be brief" in str(unstored["messages"])
    assert "Use bullets" in str(unstored["messages"])


@pytest.mark.parametrize("field", ["X-User-Id", "safety_identifier", "user", "metadata"])
def test_the_user_is_named_in_any_of_four_places(running: Running, field: str) -> None:
    state(running, "Use bullets", user="Zoë%2Fx")
    body = ask()
    headers: dict[bytes, bytes] = {}
    if field == "X-User-Id":
        headers = {b"X-User-Id": "Zoë/x".encode()}
    else:
        body[field] = {"user_id": "Zoë/x"} if field == "metadata" else "Zoë/x"
    answer = running.http().post("/v1/chat/completions", json=body, headers=headers)
    assert answer.json()["attune"]["personalized"] == "retrieval", answer.text


def test_k_is_how_many_contexts_vote(running: Running) -> None:
    learned(running, "Use bullets")
    for k, expected in ((0, []), (1, ["Use bullets"])):
        answer = running.client().chat.completions.create(**ask(extra_body={"attune": {"k": k}}), extra_headers=AS_ANN)
        assert [p["text"] for p in attune_of(answer)["preferences"]] == expected


def test_a_client_that_leaves_a_whole_answer_aborts_it(running: Running) -> None:
    running.engine.enqueue(Script(hang=True))
    with pytest.raises(openai.APITimeoutError):
        running.client(timeout=2).chat.completions.create(**ask(), extra_headers=AS_ANN)
    assert running.engine.aborted.wait(5)


def test_the_engine_dies_during_a_whole_answer(running: Running) -> None:
    running.engine.enqueue(Script(die_after=0))
    with pytest.raises(openai.APIStatusError) as raised:
        running.client().chat.completions.create(**ask())
    assert raised.value.status_code == 503
    assert raised.value.response.headers["Retry-After"]
    assert raised.value.code == "engine_unavailable"


def test_a_user_erased_during_the_answer_stays_erased(running: Running) -> None:
    running.engine.enqueue(Script(delay=1.0))
    with ThreadPoolExecutor() as pool:
        answering = pool.submit(lambda: running.client().chat.completions.create(**ask(), extra_headers=AS_ANN))
        until(lambda: running.engine.requests)
        assert running.http().delete("/v1/users/ann").status_code == 200
        assert answering.result().choices[0].message.content == "Hello world!"
    assert running.services.database.read_now(users.get, ANN) is None


def test_many_at_once_do_not_mix(running: Running) -> None:
    for number in range(8):
        state(running, f"Wish {number}", user=f"u{number}")

    client = running.client()

    def once(number: int) -> None:
        user = number % 8
        answer = client.chat.completions.create(**ask(), extra_headers={"X-User-Id": f"u{user}"})
        assert [p["text"] for p in attune_of(answer)["preferences"]] == [f"Wish {user}"]

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(once, range(40)))


def test_tool_calls_come_back_and_are_stored_as_an_empty_text(running: Running) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    running.engine.enqueue(Script(tool_calls=[call]))
    answer = running.client().chat.completions.create(**ask(), extra_headers=AS_ANN)
    assert answer.choices[0].message.tool_calls is not None
    assert running.services.database.read_now(turns.get, ANN, answer.id).answers == [""]


def publish(
    running: Running, version: int, mode: str, tmp_path: Path, learned_through: float = 1e12, owner: Owner = ANN
) -> None:
    """A ready version of Ann's, or another's, published as training does, and made the active one."""
    from adapters.artifacts.manifest import Manifest
    from adapters.lifecycle import versions

    def rows(c: Any) -> User:
        user = users.ensure(c, owner)
        assert versions.queue(c, owner) == version
        versions.set_state(c, owner, version, "ready", mode=mode, learned_through=learned_through, report={"ok": True})
        users.set_active_adapter(c, owner, version)
        return user

    user = running.services.database.write_now(rows)
    made = tmp_path / f"made-{owner.user}-{version}"
    made.mkdir()
    (made / "adapter_config.json").write_text("{}")
    manifest = Manifest(version, [], "", {}, {}, {}, 0.0)
    running.services.directories.publish(made, user.opaque_id, manifest)


@pytest.mark.parametrize(
    ("wish", "mode", "version", "texts", "personalized"),
    [
        ({}, "adapter", 1, [], "adapter"),
        ({}, "retrieval+adapter", 1, ["Use bullets"], "retrieval+adapter"),
        ({"personalize": "retrieval"}, "adapter", 0, ["Use bullets"], "retrieval"),
        ({"personalize": "adapter"}, "retrieval+adapter", 1, [], "adapter"),
        ({"personalize": "retrieval+adapter"}, "adapter", 1, ["Use bullets"], "retrieval+adapter"),
        ({"personalize": "off"}, "adapter", 0, [], "none"),
        ({"adapter_version": 0}, "adapter", 0, ["Use bullets"], "retrieval"),
        ({"adapter_version": 1}, "adapter", 1, [], "adapter"),
    ],
)
def test_modes(
    running: Running,
    tmp_path: Path,
    wish: dict[str, Any],
    mode: str,
    version: int,
    texts: list[str],
    personalized: str,
) -> None:
    learned(running, "Use bullets")
    publish(running, 1, mode, tmp_path)
    activated = running.http().post("/v1/users/ann/adapters/1/activate")
    assert activated.status_code == 200, activated.text
    body = ask(extra_body={"attune": wish})
    told = attune_of(running.client().chat.completions.create(**body, extra_headers=AS_ANN))
    assert [p["text"] for p in told["preferences"]] == texts
    assert (told["adapter_version"], told["personalized"]) == (version, personalized)
    asked = running.engine.requests[0]["model"]
    assert asked == (next(iter(running.engine.adapters)) if version else MODEL)


def test_what_changed_after_training_or_was_stated_is_recalled_beside_the_adapter(
    running: Running, tmp_path: Path
) -> None:
    state(running, "Stay polite")
    publish(running, 1, "adapter", tmp_path, learned_through=learned(running, "Use bullets"))
    learned(running, "Sign off with love")
    running.http().post("/v1/users/ann/adapters/1/activate")
    told = attune_of(running.client().chat.completions.create(**ask(), extra_headers=AS_ANN))
    assert {p["text"] for p in told["preferences"]} == {"Stay polite", "Sign off with love"}
    assert told["personalized"] == "retrieval+adapter"


def test_an_engine_that_forgot_the_adapter_still_answers(running: Running, tmp_path: Path) -> None:
    publish(running, 1, "adapter", tmp_path)
    assert running.http().post("/v1/users/ann/adapters/1/activate").status_code == 200
    running.engine.restart()
    client = running.client()
    told = attune_of(client.chat.completions.create(**ask(), extra_headers=AS_ANN))
    assert told["adapter_version"] == 0
    until(lambda: running.engine.adapters)
    until(lambda: attune_of(client.chat.completions.create(**ask(), extra_headers=AS_ANN))["adapter_version"] == 1)


def test_a_version_that_is_not_ones_own_is_not_found(running: Running, tmp_path: Path) -> None:
    publish(running, 1, "adapter", tmp_path)
    for user, version in (("bob", 1), ("ann", 2)):
        answer = running.http().post(
            "/v1/chat/completions", json=ask(attune={"adapter_version": version}), headers={"X-User-Id": user}
        )
        assert answer.status_code == 404
        assert answer.json()["error"]["param"] == "attune.adapter_version"
