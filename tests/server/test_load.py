"""More than the server takes, and clients that leave: what is refused, and that places come back."""

import json
import socket
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from store import turns
from tests.server.conftest import Running, Start, ask, until
from tests.server.fake_engine import Script
from tests.server.raw import ANN, AS_ANN, CHAT, chat, connect, head


@pytest.mark.parametrize(("limits", "status"), [({"in_flight_per_key": 3}, 429), ({"in_flight_total": 3}, 503)])
@pytest.mark.parametrize("stream", [False, True])
def test_beyond_the_limits_only_the_others_are_refused(
    start: Start, limits: dict[str, int], status: int, stream: bool
) -> None:
    running = start(**limits)
    running.engine.enqueue(*[Script(delay=4 if not stream else 1)] * 3)
    client = running.http()
    with ThreadPoolExecutor(3) as pool:
        accepted = [pool.submit(client.post, CHAT, json=ask(stream=stream), headers=AS_ANN) for _ in range(3)]
        until(lambda: len(running.engine.requests) == 3)
        for _ in range(5):
            refused = client.post(CHAT, json=ask(), headers=AS_ANN)
            assert refused.status_code == status, refused.text
            assert int(refused.headers["Retry-After"]) >= 1
            assert refused.json()["error"]["type"] == ("rate_limit_error" if status == 429 else "server_error")
        assert client.get("/health").status_code == 200, "liveness has no limit"
        for answer in accepted:
            assert answer.result().status_code == 200
            assert "Hello" in answer.result().text
    assert len(running.engine.requests) == 3, "nothing that was refused reached the engine"
    until(lambda: client.post(CHAT, json=ask(), headers=AS_ANN).status_code == 200)  # places come back


def test_places_come_back_from_clients_that_leave(start: Start) -> None:
    running = start(in_flight_per_key=2, in_flight_total=2)

    def arrived(count: int) -> bool:
        return len(running.engine.requests) >= count

    for number, stream in enumerate((False, True, False, True)):
        running.engine.enqueue(Script(tokens=[], hang=True))
        with connect(running.url) as raw:
            raw.sendall(chat(stream=stream))
            until(partial(arrived, number + 1))
    assert running.engine.aborted.wait(5)
    client = running.http()
    until(lambda: client.post(CHAT, json=ask(), headers=AS_ANN).status_code == 200)


@pytest.mark.parametrize("tokens", [[], ["a", "b"]])
def test_a_client_that_resets_its_connection_aborts_in_the_engine(running: Running, tokens: list[str]) -> None:
    running.engine.enqueue(Script(tokens=tokens, hang=True))
    raw = connect(running.url)
    body = json.dumps(ask(stream=True)).encode()
    raw.sendall(head("POST", CHAT, len(body), "X-User-Id: ann") + body)
    seen = b""
    while b'"b"' not in seen and (tokens or b"200 OK" not in seen):
        seen += raw.recv(65536)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    raw.close()
    assert running.engine.aborted.wait(5)
    if tokens:
        (turn,) = until(lambda: running.services.database.read_now(turns.page, ANN))
        assert (turn.answers, turn.partial) == (["ab"], True)
