"""vLLM dies in the middle of an answer: the client is told, nothing hangs, and the server recovers by itself."""

import httpx
import psutil
import pytest
from openai import APIError

from tests.e2e.conftest import People, wait_until_ready

END_OF_TURN = "2"
"""The bundled model's end-of-turn token."""


def engine_processes() -> list[psutil.Process]:
    """vLLM's processes, which are descendants of the server that this test session started."""
    return [p for p in psutil.Process().children(recursive=True) if "vllm.entrypoints.openai.api_server" in p.cmdline()]


@pytest.mark.timeout(400)
def test_a_killed_engine_is_told_to_the_client_and_comes_back(people: People, server: str) -> None:
    person = people("client")
    request = person.request("client")
    before = person.ask(request.text, store=False).choices[0].message.content
    victims = engine_processes()
    assert victims
    stream = person.openai.chat.completions.create(
        model="attune-tiny",
        messages=[{"role": "user", "content": request.text}],
        max_tokens=1500,
        logit_bias={END_OF_TURN: -100},  # it never ends by itself
        stream=True,
    )
    for _ in range(5):
        completion_id = next(stream).id
    for victim in victims:
        victim.kill()
    with pytest.raises(APIError, match="engine"):
        list(stream)
    down = httpx.get(f"{server}/ready", timeout=5)
    assert down.status_code == 503
    assert down.json()["engine"] in ("restarting", "loading", "unreachable")
    wait_until_ready(server)
    assert person.ask(request.text, store=False).choices[0].message.content == before
    partial = person.http.get(f"/v1/turns/{completion_id}").json()
    assert partial["partial"] is True
