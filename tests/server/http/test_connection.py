"""Where we reach into others' insides: in few files, and what they take there is there."""

import ast
from pathlib import Path

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from server.http.connection import Connection

ROOT = Path(__file__).parents[3]


def test_uvicorn_has_what_our_connections_take_of_it() -> None:
    made = {*HttpToolsProtocol.__init__.__code__.co_names, *HttpToolsProtocol.on_message_begin.__code__.co_names}
    assert made >= {
        "connections",
        "cycle",
        "flow",
        "headers",
        "loop",
        "parser",
        "pipeline",
        "scope",
        "transport",
        "url",
    }
    assert {"chunked_encoding", "disconnected", "expected_content_length", "message_event", "response_complete",
            "response_started"} <= set(RequestResponseCycle.__init__.__code__.co_names)  # fmt: skip
    ours = {name for name, value in vars(Connection).items() if callable(value) and not name.startswith("_")}
    assert ours - {"decline_upgrade"} <= set(dir(HttpToolsProtocol))


def test_nobody_imports_what_others_call_private() -> None:
    for package in ("server", "preference", "adapters"):
        for file in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                names += [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
                private = [name for name in names if any(part.startswith("_") for part in name.split("."))]
                assert [name for name in private if name != "__future__" and not name.startswith("__")] == [], file
