"""What users of other servers reported of answers and streams: each test names the thread that told of it."""

import json
from itertools import product
from typing import Any

from tests.server.conftest import Running
from tests.server.dialects.test_dialects import CHAT, COMPLETIONS, DIALECTS, Dialect, post, stored
from tests.server.fake_engine import MODEL, Script
from tests.server.reported.test_requests import every


@every
def test_line_ends_of_unicode_do_not_end_a_line_of_a_stream(running: Running, dialect: Dialect) -> None:
    """Clients end: openai/openai-python#1230, langgenius/dify#39008, modelcontextprotocol/typescript-sdk#1926."""
    said = ["a\u2028b", "\u2029", "c\u0085d"]
    running.engine.enqueue(Script(tokens=said))
    values = [{"preference": "Be brief", "description": "Two\u2028lines"}]
    got = post(running, dialect, stream=True, attune={"values": values})
    assert not set("\u0085\u2028\u2029") & set(got.text)
    for line in got.text.splitlines():
        if line.startswith("data: {"):
            json.loads(line.removeprefix("data: "))
    assert stored(running)[0].answers == ["".join(said)]


def test_no_chunk_without_choices_but_where_usage_was_asked_for(running: Running) -> None:
    """Clients read choices[0] of each: pydantic/pydantic-ai#164, TheR1D/shell_gpt#457, langchain-ai/langchain#24689."""
    for dialect, options in product((CHAT, COMPLETIONS), ({}, {"stream_options": {"include_usage": False}})):
        assert all(chunk["choices"] for chunk in _chunks(post(running, dialect, stream=True, **options).text))
        asked = _chunks(post(running, dialect, stream=True, stream_options={"include_usage": True}).text)
        usage = [chunk for chunk in asked if chunk.get("usage")]
        assert [chunk["choices"] for chunk in usage] == [[]]  # BerriAI/litellm#28735 and #8450
        assert asked[-1] == usage[0]
        assert "attune" in usage[0]


def _chunks(stream: str) -> list[dict[str, Any]]:
    return [json.loads(line.removeprefix("data: ")) for line in stream.split("\n") if line.startswith("data: {")]


def test_the_list_of_models_is_what_other_programs_read(running: Running) -> None:
    """open-webui/open-webui#10212 fails without owned_by; BerriAI/litellm#9982 offers embedders for chat."""
    (model,) = running.http().get("/v1/models").json()["data"]
    assert model.keys() >= {"id", "object", "created", "owned_by"}
    assert (model["id"], model["object"]) == (MODEL, "model")


def test_a_stream_tells_proxies_not_to_gather_it(running: Running) -> None:
    """ggml-org/llama.cpp#20872, theopenconversationkit/tock#1895, xorbitsai/xagent#1358."""
    for dialect in DIALECTS:
        headers = post(running, dialect, stream=True).headers
        assert (headers["x-accel-buffering"], headers["cache-control"]) == ("no", "no-cache")


def test_what_fails_before_the_first_event_has_a_status(running: Running) -> None:
    """ggml-org/llama.cpp#14566, BerriAI/litellm#6629, coder/aibridge#56; NVIDIA-NeMo/RL#3878 made it a 500."""
    for dialect, status in product(DIALECTS, (400, 500)):
        told = "This model's maximum context length is 2048 tokens. However, your request has 8 input tokens"
        running.engine.enqueue(Script(status=status, error=told))
        answer = post(running, dialect, stream=True)
        assert (answer.status_code, answer.headers["content-type"]) == (
            400 if status == 400 else 503,
            "application/json",
        )
        assert (told in answer.json()["error"]["message"]) == (
            status == 400
        )  # vllm-project/vllm#33418: its own figures
        assert stored(running) == []
