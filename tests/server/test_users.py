"""Who a request is for: one name is one user, however it is typed, and two names are a mistake."""

import json
import re
import socket
import unicodedata
from typing import Any

import httpx
import pytest

from store import users
from store.owner import Owner
from tests.server.conftest import Running, ask
from tests.server.dialects.test_dialects import DIALECTS, Dialect

every = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.path)
LATIN = "Zoë\u0323"


def chat(running: Running, user: str | bytes) -> str:
    """The id of an answer to the user in the header."""
    header = user.encode() if isinstance(user, str) else user
    answer = running.http().post("/v1/chat/completions", json=ask(), headers={b"X-User-Id": header})
    assert answer.status_code == 200, answer.text
    id: str = answer.json()["id"]
    return id


def test_spaces_around_a_name_are_none_of_it(running: Running) -> None:
    """A field's value ends before the white space behind it (RFC 9110, 5.5), and not every client cuts it."""
    port = httpx.URL(running.url).port
    body = json.dumps(ask())
    for name in ("sp2  ", "  sp2", "\tsp2 ", "sp2\u00a0", "\u2003sp2"):
        head = (
            "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"X-User-Id:{name}\r\n"
        )
        with socket.create_connection(("127.0.0.1", port), 20) as client:
            client.sendall(f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode())
            answer = b"".join(iter(lambda: client.recv(65536), b""))
        id = re.search(rb'"id":"(chatcmpl[^"]+)"', answer)
        assert id is not None, answer
        for user in ("sp2", "%20sp2", "sp2%C2%A0"):
            assert running.http().get(f"/v1/turns/{id[1].decode()}?user={user}").status_code == 200
    assert running.http().put("/v1/users/%20sp2%20/values", json={"values": []}).status_code == 200
    assert running.services.database.read_now(users.page) == [Owner("local", "sp2")]


def test_composed_and_decomposed_are_one_user(running: Running) -> None:
    composed, decomposed = (unicodedata.normalize(form, LATIN) for form in ("NFC", "NFD"))
    assert composed != decomposed
    id = chat(running, decomposed)
    assert running.http().get(f"/v1/turns/{id}", params={"user": composed}).status_code == 200
    body = ask(user=composed, safety_identifier=decomposed)
    assert running.http().post("/v1/chat/completions", json=body).status_code == 200


@pytest.mark.parametrize(
    ("user", "reason"),
    [("a\u200bb", "U+200B"), ("a\u202eb", "U+202E"), ("x" * 257, "256"), ("\u200b", "U+200B"), ("a\nb", "U+000A")],
)
def test_what_is_refused_says_why(running: Running, user: str, reason: str) -> None:
    answer = running.http().post("/v1/chat/completions", json=ask(user=user))
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, "user")
    assert reason in error["message"]


@every
@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"user": "bob"}, "user"),
        ({"safety_identifier": "bob"}, "safety_identifier"),
        ({"metadata": {"user_id": "bob"}}, "metadata.user_id"),
        ({"safety_identifier": "ann", "user": "bob"}, "user"),
    ],
)
def test_two_names_are_refused(running: Running, dialect: Dialect, fields: dict[str, Any], param: str) -> None:
    answer = running.http().post(dialect.path, json=dialect.ask(**fields), headers={"X-User-Id": "ann"})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert running.engine.requests == []
    same = {"safety_identifier": "ann", "user": "ann ", "metadata": {"user_id": "ann"}}
    assert running.http().post(dialect.path, json=dialect.ask(**same), headers={"X-User-Id": "ann"}).status_code == 200


def test_two_names_are_refused_everywhere_else_too(running: Running) -> None:
    id = chat(running, "ann")
    http = running.http(headers={"X-User-Id": "ann"})
    edit = {"type": "edit", "completion_id": id, "edited_text": "x", "user": "bob"}
    for answer in (http.post("/v1/feedback", json=edit), http.get(f"/v1/turns/{id}?user=bob")):
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "user")
