"""Where nothing may be kept, nothing is written: no row and no byte of any file."""

from typing import Any

import pytest

from tests.server.conftest import Running, ask
from tests.server.erasing import AS_ANN, held, publish, rows


@pytest.fixture
def known(running: Running) -> Running:
    """A server that knows Ann: values, a preference, an adapter, and a turn."""
    http = running.http(headers=AS_ANN)
    http.put("/v1/users/ann/values", json={"values": [{"preference": "Be brief"}]})
    http.post("/v1/users/ann/preferences", json={"text": "Use bullets", "context": "Write an email to Ann"})
    publish(running, "retrieval+adapter")
    assert http.post("/v1/chat/completions", json=ask()).status_code == 200
    return running


CALLS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "Write an email to Ann"}]},
    "/v1/completions": {"prompt": "Write an email to Ann"},
    "/v1/responses": {"input": "Write an email to Ann"},
    "/v1/messages": {"messages": [{"role": "user", "content": "Write an email to Ann"}], "max_tokens": 50},
}


@pytest.mark.parametrize(
    ("headers", "attune"),
    [
        (AS_ANN, {"personalize": "off"}),
        (AS_ANN, {"store": False}),
        ({"X-User-Id": "somebody new"}, {"personalize": "off"}),
        ({"X-User-Id": "somebody new"}, {"store": False}),
        ({}, {}),
    ],
    ids=["off", "not stored", "new and off", "new and not stored", "nobody"],
)
def test_nothing_is_written(known: Running, headers: dict[str, str], attune: dict[str, Any]) -> None:
    before, files = rows(known), held(known)
    http = known.http()
    for path, asked in CALLS.items():
        for stream in (False, True):
            body = {**asked, "model": ask()["model"], "stream": stream, "attune": attune}
            answer = http.post(path, json=body, headers=headers)
            assert answer.status_code == 200, answer.text
            assert "Hello" in answer.text
            assert rows(known) == before, path
            assert held(known) == files, path
    for path, asked in CALLS.items():
        body = {**asked, "model": ask()["model"]}
        assert http.post(path, json=body, headers=AS_ANN).status_code == 200
    assert len(rows(known)["turns"]) == len(before["turns"]) + len(CALLS), "the comparison can tell"
