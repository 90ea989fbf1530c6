"""The clients that apps already use, unchanged but for the address, each on a real server with real vLLM."""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

ROOT = Path(__file__).resolve().parents[2]
MODEL = "attune-tiny"
ASKED = "Write an email to Anna, my client.\nNotes:\nabout: the launch"
CHAT: dict[str, Any] = {
    "model": MODEL,
    "temperature": 0,
    "max_tokens": 24,
    "messages": [{"role": "user", "content": ASKED}],
}
LOOK: dict[str, Any] = {
    "name": "look",
    "description": "Look whether it is there.",
    "strict": True,
    "parameters": {
        "type": "object",
        "properties": {"found": {"type": "string", "enum": ["yes", "no"]}},
        "required": ["found"],
        "additionalProperties": False,
    },
}
PREFERENCE = "Use bullet points."


@pytest.fixture
def user() -> str:
    return f"user-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def client(server: str, user: str) -> Iterator[openai.OpenAI]:
    headers = {"X-User-Id": user}
    with openai.OpenAI(
        base_url=f"{server}/v1", api_key="none", max_retries=0, timeout=120, default_headers=headers
    ) as client:
        yield client


@pytest.fixture
def answer(client: openai.OpenAI) -> str:
    """What the model answers, to compare each client's answer with."""
    content: str | None = client.chat.completions.create(**CHAT).choices[0].message.content
    assert content
    return content


def prefer(client: openai.OpenAI, user: str) -> None:
    client.post(f"/users/{user}/preferences", body={"text": PREFERENCE}, cast_to=object)


def run(command: list[str], **more: Any) -> str:
    """What a client's own process prints. Raises with what it said when it fails."""
    done: subprocess.CompletedProcess[str] = subprocess.run(
        command, capture_output=True, text=True, timeout=200, check=False, **more
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


# OpenAI's Python client: everything that apps use of it.


def test_openai_conversation_seed_stop_and_choices(client: openai.OpenAI) -> None:
    turns = [*CHAT["messages"], {"role": "assistant", "content": "Hello Anna"}, {"role": "user", "content": "Shorter"}]
    drawn = {**CHAT, "messages": turns, "temperature": 1.0, "seed": 7, "n": 2}
    first, second = (client.chat.completions.create(**drawn) for _ in range(2))
    assert [c.message.content for c in first.choices] == [c.message.content for c in second.choices]
    assert len(first.choices) == 2
    greedy = client.chat.completions.create(**CHAT).choices[0].message.content or ""
    word = greedy.split()[3]
    stopped = client.chat.completions.create(**CHAT, stop=[word])
    assert stopped.choices[0].finish_reason == "stop"
    assert word not in (stopped.choices[0].message.content or "")


def test_openai_logprobs(client: openai.OpenAI) -> None:
    choice = client.chat.completions.create(**CHAT, logprobs=True, top_logprobs=3).choices[0]
    assert choice.logprobs is not None
    tokens = choice.logprobs.content or []
    assert len(tokens) == 24
    assert all(token.logprob <= 0 and len(token.top_logprobs) == 3 for token in tokens)


def test_openai_structured_outputs(client: openai.OpenAI) -> None:
    schema: dict[str, Any] = {"name": "look", "schema": LOOK["parameters"]}
    for shape in ({**schema, "strict": True}, schema):
        form: Any = {"type": "json_schema", "json_schema": shape}
        content = client.chat.completions.create(**CHAT, response_format=form).choices[0].message.content
        assert json.loads(content or "")["found"] in ("yes", "no")


def test_openai_tools(client: openai.OpenAI) -> None:
    tools: Any = [{"type": "function", "function": LOOK}]
    choice: Any = {"type": "function", "function": {"name": "look"}}
    called = client.chat.completions.create(**{**CHAT, "max_tokens": 60}, tools=tools, tool_choice=choice)
    message = called.choices[0].message
    assert message.tool_calls is not None
    (call,) = message.tool_calls
    assert call.type == "function"
    assert json.loads(call.function.arguments)["found"] in ("yes", "no")
    answered = [
        *CHAT["messages"],
        message.model_dump(exclude_unset=True, include={"role", "content", "tool_calls"}),
        {"role": "tool", "tool_call_id": call.id, "content": "yes"},
    ]
    followed = client.chat.completions.create(**{**CHAT, "messages": answered}, tools=tools, tool_choice="none")
    assert followed.choices[0].message.content


def test_openai_streams_with_usage(client: openai.OpenAI, answer: str) -> None:
    chunks = list(client.chat.completions.create(**CHAT, stream=True, stream_options={"include_usage": True}))
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == answer
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 24
    assert chunks[-1].model_extra is not None
    assert chunks[-1].model_extra["attune"]["personalized"] == "none"


def test_openai_completions(client: openai.OpenAI, user: str) -> None:
    prefer(client, user)
    asked: dict[str, Any] = {"model": MODEL, "prompt": "Hello Anna", "max_tokens": 8, "temperature": 0, "logprobs": 2}
    whole = client.completions.create(**asked)
    assert whole.model_extra is not None
    assert whole.model_extra["attune"]["personalized"] == "retrieval"
    streamed = client.completions.create(**asked, stream=True)
    assert "".join(chunk.choices[0].text for chunk in streamed if chunk.choices) == whole.choices[0].text


def test_one_prompt_on_every_route_gives_one_answer(client: openai.OpenAI, server: str, user: str) -> None:
    """What is personal about an answer does not depend on the route."""
    prefer(client, user)
    more = {"attune": {"values": [{"preference": "Be brief"}]}}
    system = "You write emails."
    chat = {**CHAT, "messages": [{"role": "system", "content": system}, *CHAT["messages"]]}
    expected = client.chat.completions.create(**chat, extra_body=more).choices[0].message.content
    plain = client.chat.completions.create(**chat, extra_body={"attune": {"personalize": "off"}})
    assert plain.choices[0].message.content != expected
    asked: dict[str, Any] = {"model": MODEL, "temperature": 0, "max_output_tokens": 24}
    response = client.responses.create(**asked, instructions=system, input=ASKED, extra_body=more)
    assert response.output_text == expected
    assert response.instructions == system
    with client.responses.stream(**asked, instructions=system, input=ASKED, extra_body=more) as stream:
        assert "".join(e.delta for e in stream if e.type == "response.output_text.delta") == expected
    with anthropic.Anthropic(base_url=server, api_key="none", max_retries=0) as claude:
        message = claude.messages.create(
            model=MODEL,
            max_tokens=24,
            system=system,
            messages=CHAT["messages"],
            metadata={"user_id": user},
            extra_body={"temperature": 0, **more},
        )
    assert message.content[0].type == "text"
    assert message.content[0].text == expected


def test_openai_response_tools(client: openai.OpenAI) -> None:
    tools: Any = [{"type": "function", **LOOK}]
    choice: Any = {"type": "function", "name": "look"}
    response = client.responses.create(
        model=MODEL, input=ASKED, max_output_tokens=60, temperature=0, tools=tools, tool_choice=choice
    )
    calls = [item for item in response.output if item.type == "function_call"]
    assert json.loads(calls[0].arguments)["found"] in ("yes", "no")


def test_anthropic(server: str, user: str, answer: str) -> None:
    asked: dict[str, Any] = {"model": MODEL, "max_tokens": 24, "messages": CHAT["messages"]}
    asked["extra_body"] = {"temperature": 0}
    with anthropic.Anthropic(base_url=server, api_key="none", max_retries=0) as claude:
        whole = claude.messages.create(**asked, metadata={"user_id": user})
        assert whole.content[0].type == "text"
        assert whole.content[0].text == answer
        assert whole.stop_reason == "max_tokens"
        with claude.messages.stream(**asked) as stream:
            assert "".join(stream.text_stream) == answer
        tools: Any = [{"name": "look", "input_schema": LOOK["parameters"], "strict": True}]
        called = claude.messages.create(
            **{**asked, "max_tokens": 60}, tools=tools, tool_choice={"type": "tool", "name": "look"}
        )
        assert any(block.type == "tool_use" and block.input["found"] in ("yes", "no") for block in called.content)
        with pytest.raises(anthropic.BadRequestError):
            claude.messages.create(**asked | {"max_tokens": 9_000})


def test_langchain(server: str, user: str, answer: str) -> None:
    from langchain_openai import ChatOpenAI

    def chat(max_tokens: int) -> ChatOpenAI:
        given: dict[str, Any] = {"api_key": "none", "max_tokens": max_tokens, "model_kwargs": {"user": user}}
        return ChatOpenAI(model=MODEL, base_url=f"{server}/v1", temperature=0, **given)

    model = chat(24)
    assert model.invoke(ASKED).content == answer
    assert "".join(str(chunk.content) for chunk in model.stream(ASKED)) == answer
    shaped = model.with_structured_output(LOOK["parameters"] | {"title": "look"}, method="json_schema")
    assert shaped.invoke(ASKED)["found"] in ("yes", "no")
    bound = chat(60).bind_tools([{"type": "function", "function": LOOK}], tool_choice="look")
    assert bound.invoke(ASKED).tool_calls[0]["args"]["found"] in ("yes", "no")


def test_llm(server: str, tmp_path: Path, answer: str) -> None:
    """Simon Willison's command line."""
    model = {"model_id": "tiny", "model_name": MODEL, "api_base": f"{server}/v1", "headers": {"X-User-Id": "llm"}}
    (tmp_path / "extra-openai-models.yaml").write_text(json.dumps([model]))  # JSON is YAML
    environment = {**os.environ, "LLM_USER_PATH": str(tmp_path)}
    asked = [sys.executable, "-m", "llm", "-m", "tiny", "-o", "temperature", "0", "-o", "max_tokens", "24", ASKED]
    assert run(asked, env=environment).strip() == answer.strip()
    assert run([*asked, "--no-stream"], env=environment).strip() == answer.strip()


def test_openai_in_node(server: str, user: str, answer: str) -> None:
    folder = ROOT / "tests" / "e2e" / "node"
    node = Path(sys.executable).with_name("node")
    assert (folder / "node_modules").is_dir(), "make setup-dev installs it"
    said = json.loads(run([str(node), "client.mjs", server, user], cwd=folder))
    assert said == {
        "whole": answer,
        "personalized": "none",
        "streamed": answer,
        "streamedPersonalized": "none",
        "response": answer,
        "refused": {"param": "chat_template", "type": "invalid_request_error"},
    }


def test_litellm(server: str, user: str, answer: str) -> None:
    """LiteLLM's SDK, in an environment of its own: it pins what we need otherwise."""
    python = ROOT / ".venv-litellm" / "bin" / "python"
    assert python.exists(), "make setup-dev installs it"
    program = """
import json, sys, litellm
base, user, asked = sys.argv[1:]
more = dict(model="openai/attune-tiny", api_base=base + "/v1", api_key="none", temperature=0, max_tokens=24, user=user,
            messages=[{"role": "user", "content": asked}])
whole = litellm.completion(**more).choices[0].message.content
streamed = "".join(c.choices[0].delta.content or "" for c in litellm.completion(**more, stream=True))
try:
    litellm.completion(**more, extra_body={"chat_template": "x"})
except litellm.BadRequestError as error:
    refused = "chat_template" in str(error)
print(json.dumps([whole, streamed, refused]))
"""
    assert json.loads(run([str(python), "-c", program, server, user, ASKED]).splitlines()[-1]) == [answer, answer, True]


# What vLLM answered, taken back as history; and what only vLLM itself can say of our requests.


def test_what_was_answered_is_the_next_requests_history(client: openai.OpenAI, server: str) -> None:
    tools: Any = [{"type": "function", "function": LOOK}]
    named: Any = {"type": "function", "function": {"name": "look"}}
    messages: list[Any] = [*CHAT["messages"]]
    first = client.chat.completions.create(**{**CHAT, "max_tokens": 60}, tools=tools, tool_choice=named)
    messages.append(first.choices[0].message.model_dump())
    messages += [
        {"role": "tool", "tool_call_id": call["id"], "content": "it is"} for call in messages[-1]["tool_calls"] or ()
    ]
    second = client.chat.completions.create(**{**CHAT, "messages": messages})
    messages += [second.choices[0].message, {"role": "user", "content": "Shorter"}]
    assert client.chat.completions.create(**{**CHAT, "messages": messages}).choices[0].message.content is not None
    said = client.responses.create(model=MODEL, input=ASKED, temperature=0, max_output_tokens=24)
    items: Any = [{"role": "user", "content": ASKED}, *said.output, {"role": "user", "content": "Shorter"}]
    include: Any = ["reasoning.encrypted_content"]
    assert client.responses.create(model=MODEL, input=items, max_output_tokens=24, include=include).output
    with anthropic.Anthropic(base_url=server, api_key="none", max_retries=0, timeout=120) as other:
        asked: list[Any] = [{"role": "user", "content": ASKED}]
        message = other.messages.create(model=MODEL, max_tokens=24, messages=asked)
        assert other.messages.count_tokens(model=MODEL, messages=asked).input_tokens == message.usage.input_tokens
        asked += [message.model_dump(), {"role": "user", "content": "Shorter"}]
        assert other.messages.create(model=MODEL, max_tokens=24, messages=asked).content


def test_several_greedy_answers_are_one(client: openai.OpenAI, answer: str) -> None:
    got = client.chat.completions.create(**CHAT, n=2)
    assert [choice.message.content for choice in got.choices] == [answer, answer]


def test_embeddings_of_alike_texts_are_alike(client: openai.OpenAI) -> None:
    texts = ["Write an email to Anna", "Compose a mail for Anna", "The cat sat on the mat"]
    one, two, three = (row.embedding for row in client.embeddings.create(model="all-MiniLM-L6-v2", input=texts).data)
    similarity = [sum(a * b for a, b in zip(one, other, strict=True)) for other in (two, three)]
    assert similarity[0] > similarity[1]
