"""vLLM dies in the middle of an answer: the client is told, nothing hangs, and the server recovers by itself."""

import threading
import time

import httpx
import psutil
import pytest
from openai import APIError

from tests.e2e.conftest import People, wait_until_ready


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
    threading.Timer(0.3, lambda: [victim.kill() for victim in victims]).start()
    deadline = time.monotonic() + 30

    def answers_until_it_breaks() -> None:
        while time.monotonic() < deadline:
            stream = person.openai.chat.completions.create(
                model="attune-tiny", messages=[{"role": "user", "content": request.text}], stream=True, temperature=0
            )
            for _ in stream:
                pass

    with pytest.raises(APIError):
        answers_until_it_breaks()
    down = httpx.get(f"{server}/ready", timeout=5)
    assert down.status_code == 503
    assert down.json()["engine"] in ("restarting", "loading", "unreachable")
    wait_until_ready(server)
    assert person.ask(request.text, store=False).choices[0].message.content == before
