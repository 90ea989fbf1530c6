"""Which answers the engine ended before the model would have: by a bound or a stop sequence, in each dialect."""

from typing import Any

import pytest

from store import turns
from store.owner import Owner
from tests.server.conftest import Running, until
from tests.server.fake_engine import MODEL, Script

MESSAGES = [{"role": "user", "content": "Write"}]
CHAT = ("/v1/chat/completions", {"messages": MESSAGES})
RESPONSES = ("/v1/responses", {"input": "Write"})
ANTHROPIC = ("/v1/messages", {"messages": MESSAGES, "max_tokens": 9})


def cut(running: Running, path: str, body: dict[str, Any]) -> bool:
    """Whether the turn of a new answer is stored as cut."""
    http = running.http(headers={"X-User-Id": "ann"})
    assert http.post(path, json={"model": MODEL, **body}).status_code == 200
    owner = Owner("local", "ann")
    (stored,) = until(lambda: running.services.database.read_now(turns.page, owner))
    assert not stored.partial
    return bool(stored.cut)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("route", "script", "expected"),
    [
        (CHAT, Script(), False),
        (CHAT, Script(finish="length"), True),
        (CHAT, Script(stop="###"), True),
        (CHAT, Script(finish="tool_calls"), False),
        (ANTHROPIC, Script(), False),
        (ANTHROPIC, Script(finish="max_tokens"), True),
        (ANTHROPIC, Script(finish="stop_sequence", stop="###"), True),
        (RESPONSES, Script(), False),
        (RESPONSES, Script(finish="incomplete"), True),
    ],
)
def test_an_answer_that_was_cut_is_stored_as_such(
    running: Running, route: tuple[str, dict[str, Any]], script: Script, expected: bool, stream: bool
) -> None:
    path, body = route
    running.engine.enqueue(script)
    assert cut(running, path, {**body, "stream": stream}) is expected
