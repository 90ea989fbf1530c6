"""POST /v1/embeddings and /v1/messages/count_tokens: by the server's embedder, and by the engine's tokenizer."""

import base64
from typing import Any, Literal

import anthropic
import numpy as np
import pytest
from openai import Omit, omit

from tests.server.conftest import Running, WordEmbedder
from tests.server.dialects.test_dialects import AS_ANN, MESSAGES, prefer, stored
from tests.server.fake_engine import MODEL


def test_openais_client_gets_the_embedders_vectors(running: Running) -> None:
    client = running.client()
    texts = [f"Hello {number} world" for number in range(20)]
    expected = WordEmbedder().embed(texts)
    formats: tuple[Literal["float"] | Omit, ...] = (omit, "float")
    for format in formats:
        got = client.embeddings.create(model="words", input=texts, encoding_format=format)
        assert np.allclose([one.embedding for one in got.data], expected)
        assert [one.index for one in got.data] == list(range(20))
    one = running.http().post(
        "/v1/embeddings", json={"model": "words", "input": texts[0], "encoding_format": "base64", "user": None}
    )
    assert np.allclose(np.frombuffer(base64.b64decode(one.json()["data"][0]["embedding"]), "<f4"), expected[0])


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"model": MODEL}, 404, "model"),
        ({"input": []}, 400, "input"),
        ({"input": [""]}, 400, "input.0"),
        ({"input": ["x"] * 257}, 400, "input"),
        ({"input": ["x", "x" * 8193]}, 400, "input.1"),
        ({"input": [[1, 2, 3]]}, 400, "input"),
        ({"dimensions": 7}, 400, "dimensions"),
        ({"encoding_format": "int8"}, 400, "encoding_format"),
        ({"truncate": True}, 400, "truncate"),
    ],
)
def test_what_cannot_be_embedded(running: Running, body: dict[str, Any], status: int, param: str) -> None:
    answer = running.http().post("/v1/embeddings", json={"model": "words", "input": "Hi", **body})
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["param"].startswith(param)


def test_anthropics_client_counts_what_would_be_sent(running: Running) -> None:
    asked: Any = [{"role": "user", "content": "Write an email to Ann"}]
    with anthropic.Anthropic(base_url=running.url, api_key="none", max_retries=0, default_headers=AS_ANN) as client:
        alone = client.messages.count_tokens(model=MODEL, messages=asked).input_tokens
        assert alone == len("<user> Write an email to Ann <end> \n <assistant>".split(" "))
        with_system = client.messages.count_tokens(model=MODEL, messages=asked, system="Be kind").input_tokens
        assert with_system == alone + len("<system> Be kind <end> \n".split(" "))
        prefer(running)
        assert client.messages.count_tokens(model=MODEL, messages=asked).input_tokens > alone
    assert stored(running) == []
    assert running.engine.requests == []


def test_counting_takes_what_a_message_takes(running: Running) -> None:
    http = running.http()
    path = "/v1/messages/count_tokens"
    tool = {"name": "look", "input_schema": {"type": "object"}}
    assert http.post(path, json={**MESSAGES.ask(), "tools": [tool]}).status_code == 200
    assert http.post(path, json={**MESSAGES.ask(), "model": "other"}).status_code == 404
    assert http.post(path, json={**MESSAGES.ask(), "messages": []}).json()["error"]["param"] == "messages"
