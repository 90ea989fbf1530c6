"""Each kind of answer, whole and streamed, goes back as its SDK holds it, on each route."""

from collections.abc import Callable
from itertools import product
from typing import Any

import anthropic

from tests.server.conftest import Running
from tests.server.fake_engine import MODEL, Script

FIRST, THEN = {"role": "user", "content": "Look"}, {"role": "user", "content": "Go on"}
AS_ANN = {"X-User-Id": "ann"}
Held = Callable[[Any], Any]
FORMS: dict[str, Held] = {
    "object": lambda one: one,
    "model_dump": lambda one: one.model_dump(),
    "without nulls": lambda one: one.model_dump(exclude_none=True),
    "to_dict": lambda one: one.to_dict(),
    "json": lambda one: one.model_dump(mode="json"),
}


def _call(number: int) -> dict[str, Any]:
    return {"id": f"call_{number}", "type": "function", "function": {"name": "look", "arguments": '{"at": "it"}'}}


_NULLS = dict.fromkeys(("refusal", "annotations", "audio", "function_call", "reasoning"))
CHATS: dict[str, dict[str, Any]] = {
    "text": {"content": "A cat."},
    "refusal": {"content": None, "refusal": "I will not."},
    "reasoning": {"content": "A cat.", "reasoning": "It has fur."},
    "tool call": {"content": None, "tool_calls": [_call(1)]},
    "parallel tool calls": {"content": "I look.", "tool_calls": [_call(1), _call(2)]},
}
_MESSAGE = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed"}
_FUNCTION = {"type": "function_call", "name": "look", "arguments": '{"at": "it"}', "status": "completed"}
RESPONSES: dict[str, list[dict[str, Any]]] = {
    "text": [{**_MESSAGE, "content": [{"type": "output_text", "text": "A cat.", "annotations": [], "logprobs": None}]}],
    "refusal": [{**_MESSAGE, "content": [{"type": "refusal", "refusal": "I will not."}]}],
    "reasoning": [
        {"id": "rs_1", "type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "Fur."}]},
        {**_MESSAGE, "content": [{"type": "output_text", "text": "A cat.", "annotations": []}]},
    ],
    "tool call": [{**_FUNCTION, "id": "fc_1", "call_id": "c1"}],
    "parallel tool calls": [{**_FUNCTION, "id": "fc_1", "call_id": "c1"}, {**_FUNCTION, "id": "fc_2", "call_id": "c2"}],
}
_USE = {"type": "tool_use", "name": "look", "input": {"at": "it"}}
MESSAGES: dict[str, list[dict[str, Any]]] = {
    "text": [{"type": "text", "text": "A cat."}],
    "reasoning": [{"type": "thinking", "thinking": "Fur.", "signature": ""}, {"type": "text", "text": "A cat."}],
    "tool call": [{**_USE, "id": "t1"}],
    "parallel tool calls": [{"type": "text", "text": "I look."}, {**_USE, "id": "t1"}, {**_USE, "id": "t2"}],
}


def test_chat_completions(running: Running) -> None:
    for kind, stream in product(CHATS, (False, True)):
        client = running.client(default_headers=AS_ANN)
        said = {"role": "assistant", **_NULLS, **CHATS[kind]}
        running.engine.enqueue(Script(said=said, finish="tool_calls" if "tool" in kind else None))
        asked: dict[str, Any] = {"model": MODEL, "messages": [FIRST]}
        if stream:
            with client.chat.completions.stream(**asked) as events:
                message: Any = events.get_final_completion().choices[0].message
        else:
            message = client.chat.completions.create(**asked).choices[0].message
        calls = message.tool_calls or []
        results = [{"role": "tool", "tool_call_id": call.id, "content": "a cat"} for call in calls]
        for form, held in FORMS.items():
            history: Any = [FIRST, held(message), *results, THEN]
            client.chat.completions.create(model=MODEL, messages=history)
            sent = running.engine.requests[-1]["messages"]
            assert [m["role"] for m in sent] == ["user", "assistant", *("tool" for _ in calls), "user"], (
                kind,
                stream,
                form,
            )
            assert (sent[1].get("content") or None) == said["content"], (kind, stream, form)
            told = [(call["id"], call["function"]) for call in sent[1].get("tool_calls") or ()]
            assert told == [(call["id"], call["function"]) for call in CHATS[kind].get("tool_calls", ())], (
                kind,
                stream,
                form,
            )


def test_responses(running: Running) -> None:
    for kind, stream in product(RESPONSES, (False, True)):
        client = running.client(default_headers=AS_ANN)
        running.engine.enqueue(Script(said=RESPONSES[kind]))
        asked: Any = client.responses.create(model=MODEL, input="Look", stream=stream)
        answer = next(event.response for event in asked if event.type == "response.completed") if stream else asked
        calls = [item for item in answer.output if item.type == "function_call"]
        results = [{"type": "function_call_output", "call_id": call.call_id, "output": "a cat"} for call in calls]
        kinds = [*(item["type"] for item in RESPONSES[kind]), *("function_call_output" for _ in calls)]
        for form, held in FORMS.items():
            history: Any = [FIRST, *map(held, answer.output), *results, THEN]
            client.responses.create(model=MODEL, input=history)
            sent = running.engine.requests[-1]["input"]
            assert [item.get("type", "message") for item in sent[1:-1]] == kinds, (kind, stream, form)


def test_messages(running: Running) -> None:
    for kind, stream in product(MESSAGES, (False, True)):
        running.engine.enqueue(Script(said=MESSAGES[kind], finish="tool_use" if "tool" in kind else None))
        asked: dict[str, Any] = {"model": MODEL, "max_tokens": 9, "messages": [FIRST]}
        with anthropic.Anthropic(base_url=running.url, api_key="none", max_retries=0) as client:
            if stream:
                with client.messages.stream(**asked) as events:
                    answer: Any = events.get_final_message()
            else:
                answer = client.messages.create(**asked)
            uses = [block.id for block in answer.content if block.type == "tool_use"]
            results = [{"type": "tool_result", "tool_use_id": id, "content": "a cat"} for id in uses]
            then = {"role": "user", "content": [*results, {"type": "text", "text": "Go on"}]}
            for form, held in FORMS.items():
                said = {"role": answer.role, "content": list(map(held, answer.content))}
                client.messages.create(**{**asked, "messages": [FIRST, said, then]})
                sent = running.engine.requests[-1]["messages"][1]["content"]
                assert [block["type"] for block in sent] == [block["type"] for block in MESSAGES[kind]], (
                    kind,
                    stream,
                    form,
                )
                assert [block["input"] for block in sent if block["type"] == "tool_use"] == [{"at": "it"} for _ in uses]


def test_completions(running: Running) -> None:
    """Its history is text: what came is put behind what was asked."""
    for stream in (False, True):
        client = running.client(default_headers=AS_ANN)
        asked: Any = client.completions.create(model=MODEL, prompt="Dear Ann,", stream=stream)
        chunks = list(asked) if stream else [asked]
        text = "".join(chunk.choices[0].text for chunk in chunks if chunk.choices)
        client.completions.create(model=MODEL, prompt=f"Dear Ann,{text} Go on.")
        assert running.engine.requests[-1]["prompt"] == "Dear Ann,Hello world! Go on."
