"""`attune import`: files cut into rows and sent to a server, which may be busy or away."""

import io
import json
import sys
from pathlib import Path
from subprocess import run

import httpx
import pytest

from preference.errors import Invalid
from server import import_command
from tests.preference.test_imports_formats import rated
from tests.server.conftest import Running
from tests.server.test_imports import OWN, PAIR, WISH, feedback_of, jsonl

FILES: list[tuple[str, bytes, int]] = [
    ("lines", jsonl(PAIR, OWN, WISH), 3),
    ("a list", json.dumps([{"memory": "Prefers tables"}, {"memory": "Has a dog"}], indent=2).encode(), 2),
    ("a document", json.dumps({"results": [{"memory": "Prefers tables"}]}, indent=2).encode(), 1),
    ("a document in a line", json.dumps({"results": [{"memory": "Prefers tables"}]}).encode(), 1),
    ("an agent", json.dumps({"agents": [], "blocks": [{"label": "human", "value": "Be brief"}]}, indent=1).encode(), 1),
    ("text", "\ufeff- Prefers tables\n\n- Has a dog\n".encode(), 3),
    ("nothing", b"", 0),
]


@pytest.mark.parametrize(("name", "content", "last"), FILES, ids=[name for name, *_ in FILES])
def test_files_are_cut_into_rows(name: str, content: bytes, last: int) -> None:
    found = list(import_command.rows(io.BytesIO(content)))
    assert all(isinstance(json.loads(row), dict | str) for _, row in found)
    assert [number for number, _ in found][-1:] == [last][:last]


@pytest.mark.parametrize("content", [b"[{]", b"[1, 2", b"{\n1", b"\xff\xfe"])
def test_files_that_are_none(content: bytes) -> None:
    with httpx.Client(base_url="http://127.0.0.1:9") as http, pytest.raises(Invalid) as refused:
        import_command.send(io.BytesIO(content), http, user="ann", params={}, sleep=lambda _: None)
    assert refused.value.param == "file"


def test_the_command_sends_a_file(running: Running, tmp_path: Path) -> None:
    file = tmp_path / "past.jsonl"
    file.write_bytes(jsonl(PAIR, b"", {"request": "x"}, OWN, WISH))
    command = [sys.executable, "-m", "server", "import", str(file), "--user", "ann", "--url", running.url]
    done = run(command, capture_output=True, text=True, check=False, timeout=250)
    assert done.returncode == 1
    assert "5 rows: 2 demonstrations, 1 preferences" in done.stdout
    assert "line 3: " in done.stderr
    again = run(command, capture_output=True, text=True, check=False, timeout=250)
    assert "nothing new; 3 known before" in again.stdout


def test_each_row_goes_to_the_user_that_it_names(running: Running) -> None:
    rows_ = [rated({"rating": 1}, user=user) for user in ("ann", "bob", "ann")]
    total = import_command.send(io.BytesIO(json.dumps(rows_).encode()), running.http(), user=None, params={})
    assert (total.taken["thumbs"], total.repeated) == (2, 1)
    assert len(feedback_of(running, "bob")) == 1
    with pytest.raises(Invalid) as refused:
        import_command.send(io.BytesIO(jsonl(PAIR)), running.http(), user=None, params={})
    assert refused.value.param == "user"


def test_it_waits_and_tries_again_and_says_where_it_stopped() -> None:
    asked: list[int] = []
    waits: list[float] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(len(request.content))
        if len(asked) == 1:
            return httpx.Response(503, headers={"Retry-After": "3"}, json={"error": {"message": "Busy."}})
        if len(asked) == 2:
            nothing = {"taken": {}, "repeated": 0, "skipped": 0, "refused": 0, "refused_lines": []}
            return httpx.Response(200, json=nothing)
        return httpx.Response(429, json={"error": {"message": "Too many."}})

    rows_ = jsonl(*[PAIR] * (import_command.SENT_LINES + 1))
    with httpx.Client(transport=httpx.MockTransport(answer), base_url="http://x") as http:
        with pytest.raises(import_command.Stopped) as stopped:
            import_command.send(io.BytesIO(rows_), http, user="ann", params={}, sleep=waits.append)
        assert stopped.value.message == "Too many."
        assert stopped.value.after == import_command.SENT_LINES
        assert waits[0] == 3
        assert len(asked) == 2 + import_command.TRIES
