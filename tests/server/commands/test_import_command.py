"""`attune import`: files cut into rows and sent to a server, which may be busy or away."""

import io
import json
import sys
from pathlib import Path
from subprocess import run

import httpx
import pytest

from server.commands import import_command
from store.errors import Invalid
from tests.preference.test_imports_formats import rated
from tests.server.conftest import Running
from tests.server.test_user_import import OWN, PAIR, WISH, feedback_of, jsonl

FILES: list[tuple[str, bytes, int]] = [
    ("lines", jsonl(PAIR, OWN, WISH), 3),
    ("a list", json.dumps([{"memory": "Prefers tables"}, {"memory": "Has a dog"}], indent=2).encode(), 2),
    ("a document", json.dumps({"results": [{"memory": "Prefers tables"}]}, indent=2).encode(), 1),
    ("a document in a line", json.dumps({"results": [{"memory": "Prefers tables"}]}).encode(), 1),
    ("an agent", json.dumps({"agents": [], "blocks": [{"label": "human", "value": "Be brief"}]}, indent=1).encode(), 1),
    ("text", "\ufeff- Prefers tables\n\n- Has a dog\n".encode(), 3),
    ("a broken first line", b'{"request": "x", "draft": \n' + jsonl(PAIR, OWN), 3),
    ("blank lines first", b"\n \n" + jsonl(PAIR, OWN), 4),
    ("nothing", b"", 0),
]


@pytest.mark.parametrize(("name", "content", "last"), FILES, ids=[name for name, *_ in FILES])
def test_files_are_cut_into_rows(name: str, content: bytes, last: int) -> None:
    found = list(import_command.rows(io.BytesIO(content)))
    assert all(isinstance(json.loads(row), dict | str) for _, row in found if not row.endswith(b":"))
    assert [number for number, _ in found][-1:] == [last][:last]


def test_lines_of_json_behind_a_line_of_text_are_rows() -> None:
    comment, pair = import_command.rows(io.BytesIO(b"# my data\n" + jsonl(PAIR)))
    assert (json.loads(comment[1]), json.loads(pair[1])) == ("# my data", PAIR)


def test_a_broken_row_takes_no_other_with_it(running: Running) -> None:
    lines = b"Always answer in tables\n\xe9t\xe9\nNever use emojis\n"
    total = import_command.send(io.BytesIO(lines), running.http(), user="ann", params={})
    assert (total.taken["preferences"], [line for line, _ in total.refused_told]) == (2, [2])
    broken = json.dumps([WISH, OWN]).encode()[:-1] + b", {"
    with pytest.raises(import_command.Stopped, match="not JSON") as stopped:
        import_command.send(io.BytesIO(broken), running.http(), user="bob", params={})
    assert (stopped.value.after, stopped.value.total.taken["preferences"]) == (2, 1)


def test_memories_of_several_people_are_not_taken_for_one(running: Running) -> None:
    rows_ = [{"content": f"Prefers {what}", "observer_id": "x", "observed_id": who}
             for who, what in (("alice", "short emails"), ("bob", "long emails"))]  # fmt: skip
    with pytest.raises(import_command.Stopped, match=r"several people \(alice, bob\)"):
        import_command.send(io.BytesIO(jsonl(*rows_)), running.http(), user="ann", params={})
    assert running.http().get("/v1/users/ann/preferences").status_code == 404, "not even the first one's"
    total = import_command.send(io.BytesIO(jsonl(*rows_)), running.http(), user="bea", params={"of": "bob"})
    assert (total.taken["preferences"], total.skipped_told) == (1, [(1, "about another peer")])


@pytest.mark.parametrize("content", [b"[{]", b"[x]"])
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
    total = import_command.send(io.BytesIO(jsonl(PAIR)), running.http(), user=None, params={})
    assert total.refused_told == [(1, "it names no user in user_id: say whose it is with --user")]


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
