"""Requests as bytes on a socket, for what no HTTP client would send."""

import contextlib
import json
import socket
from typing import Any

import httpx

from store.owner import Owner
from tests.server.conftest import ask

ANN = Owner("local", "ann")
AS_ANN = {"X-User-Id": "ann"}
CHAT = "/v1/chat/completions"


def connect(url: str) -> socket.socket:
    at = httpx.URL(url)
    return socket.create_connection((at.host, at.port), timeout=20)


def head(method: str, path: str, length: int, *headers: str) -> bytes:
    about = ["Host: localhost", "Content-Type: application/json", f"Content-Length: {length}"]
    lines = [f"{method} {path} HTTP/1.1", *about]
    return "\r\n".join([*lines, *headers, "", ""]).encode()


def read_all(raw: socket.socket) -> bytes:
    seen = b""
    with contextlib.suppress(ConnectionResetError):
        while part := raw.recv(65536):
            seen += part
    return seen


def chat(text: str = "Hi", **more: Any) -> bytes:
    body = json.dumps(ask(text, **more)).encode()
    return head("POST", CHAT, len(body), "X-User-Id: ann") + body


def read_until(raw: socket.socket, end: bytes) -> bytes:
    seen = b""
    while end not in seen:
        part = raw.recv(65536)
        assert part, seen
        seen += part
    return seen
