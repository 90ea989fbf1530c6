"""HTTP as clients and proxies really speak it: HTTP/1.0, HEAD, h2c, compressed bodies, preflights, prefixes."""

import gzip
import json
import shutil
import socket
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest

from server.errors import StartRefused
from server.settings import Settings
from store import keys
from tests.server.conftest import Running, Start, ask, until
from tests.server.dialects.test_dialects import AS_ANN

BODY = json.dumps(ask("Hi " + "x" * 5000)).encode()
H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABk\r\n"
"""What `curl --http2` and the JDK's HttpClient say to a server of which they know no protocol yet."""


def head(path: str, *more: bytes, method: str = "POST", version: str = "1.1") -> bytes:
    lines = [f"{method} {path} HTTP/{version}", "Host: localhost", "X-User-Id: ann", "Content-Type: application/json"]
    return "\r\n".join(lines).encode() + b"\r\n" + b"".join(more)


def said(running: Running, *pieces: bytes, until: bytes = b"") -> bytes:
    """What the server says to these bytes, until it closes, or until it has said something."""
    with socket.create_connection(("127.0.0.1", httpx.URL(running.url).port or 0), 20) as client:
        for piece in pieces:
            client.sendall(piece)
        heard = b""
        for part in iter(lambda: client.recv(65536), b""):
            heard += part
            if until and heard.count(until) >= 1:
                break
        return heard


def framed(*, chunked: bool) -> Iterator[bytes]:
    if not chunked:
        yield b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
        return
    yield b"Transfer-Encoding: chunked\r\n\r\n"
    for start in range(0, len(BODY), 1000):
        yield b"%x\r\n%b\r\n" % (len(BODY[start : start + 1000]), BODY[start : start + 1000])
    yield b"0\r\n\r\n"


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("apart", [False, True])
def test_a_request_that_asks_for_http_2_keeps_its_body(running: Running, chunked: bool, apart: bool) -> None:
    """Kludex/uvicorn#2722, MagicStack/httptools#124: each request of Java's HttpClient lost its body."""
    sent = head("/v1/chat/completions", H2C) + b"".join(framed(chunked=chunked))
    pieces = [sent[at : at + 701] for at in range(0, len(sent), 701)] if apart else [sent]
    closing = head("/health", b"Connection: close\r\n\r\n", method="GET")
    heard = said(running, *pieces, closing)  # and the connection goes on, in HTTP/1.1
    assert heard.count(b"HTTP/1.1 200 OK") == 2, heard
    assert b'{"status":"ok"}' in heard
    assert running.engine.requests[0]["messages"] == json.loads(BODY)["messages"]


def test_a_get_that_asks_for_another_protocol_is_answered(running: Running) -> None:
    for upgrade in (H2C, b"Connection: Upgrade\r\nUpgrade: websocket\r\n"):
        closing = head("/health", b"Connection: close\r\n\r\n", method="GET")
        heard = said(running, head("/v1/models", upgrade, b"\r\n", method="GET"), closing)
        assert heard.count(b"HTTP/1.1 200 OK") == 2, heard


@pytest.mark.skipif(shutil.which("java") is None, reason="needs a JDK")
def test_javas_own_client(running: Running, tmp_path: Path) -> None:
    source = """
        import java.net.URI;
        import java.net.http.*;
        public class Ask {
            public static void main(String[] args) throws Exception {
                var client = HttpClient.newHttpClient();
                for (int i = 0; i < 2; i++) {
                    var request = HttpRequest.newBuilder(URI.create(args[0] + "/v1/chat/completions"))
                        .header("Content-Type", "application/json").header("X-User-Id", "ann")
                        .POST(HttpRequest.BodyPublishers.ofString(args[1])).build();
                    System.out.println(client.send(request, HttpResponse.BodyHandlers.ofString()).statusCode());
                }
            }
        }"""
    (tmp_path / "Ask.java").write_text(source)
    command = ["java", str(tmp_path / "Ask.java"), running.url, json.dumps(ask())]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert ran.stdout.split() == ["200", "200"]


def test_an_answer_in_http_1_0_ends_with_its_connection(running: Running) -> None:
    """nginx speaks it to its upstreams unless told otherwise (`proxy_http_version`), as do old proxies and `ab`."""
    body = json.dumps(ask(stream=True)).encode()
    heard = said(running, head("/v1/chat/completions", b"Content-Length: %d\r\n\r\n" % len(body), body, version="1.0"))
    top, _, events = heard.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in top.lower()
    assert b"connection: close" in top.lower()
    assert events.startswith(b"data: {")
    assert events.endswith(b"data: [DONE]\n\n")
    exported = said(running, head("/v1/users/ann/export", b"\r\n", method="GET", version="1.0"))
    lines = exported.partition(b"\r\n\r\n")[2].splitlines()
    assert [json.loads(line)["object"] for line in lines][:2] == ["user", "turn"]
    whole = said(running, head("/health", b"\r\n", method="GET", version="1.0"))
    assert whole.endswith(b'{"status":"ok"}')
    assert b"content-length: 15" in whole


def test_every_get_answers_head_without_a_body(running: Running) -> None:
    http = running.http(headers=AS_ANN)
    answer = http.post("/v1/chat/completions", json=ask()).json()["id"]
    for path in ("/health", "/ready", "/v1/models", "/docs", f"/v1/turns/{answer}", "/v1/nowhere"):
        asked, told = http.head(path), http.get(path)
        assert (asked.status_code, asked.content) == (told.status_code, b""), path
        assert asked.headers["content-length"] == told.headers["content-length"], path
    assert "HEAD" in http.patch("/v1/models").headers["Allow"]
    assert http.head("/v1/chat/completions").status_code == 405


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "GZIP"])
def test_a_compressed_body_is_refused_as_such(running: Running, encoding: str) -> None:
    """Some clients and SDK middlewares compress by default; a bomb would pass the body limit otherwise."""
    headers = {**AS_ANN, "Content-Type": "application/json", "Content-Encoding": encoding}
    for path in ("/v1/chat/completions", "/v1/feedback", "/v1/users/ann/adapters/import"):
        answer = running.http().post(path, content=gzip.compress(BODY), headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (415, "unsupported_encoding")
        assert answer.headers["Accept-Encoding"] == "identity"
    plain = {**headers, "Content-Encoding": "identity"}
    assert running.http().post("/v1/chat/completions", content=BODY, headers=plain).status_code == 200


def test_pages_of_named_origins_may_ask(start: Start) -> None:
    running = start(cors_origins="https://app.example, https://other.example")
    asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,x-user-id"}
    mine, foreign = {"Origin": "https://app.example"}, {"Origin": "https://evil.example"}
    preflight = running.http().options("/v1/chat/completions", headers={**mine, **asks})
    assert preflight.status_code == 200
    assert preflight.headers["Access-Control-Allow-Origin"] == "https://app.example"
    assert "x-user-id" in preflight.headers["Access-Control-Allow-Headers"].lower()
    answer = running.http().post("/v1/chat/completions", json={}, headers=mine)
    assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (400, "https://app.example")
    assert "X-Request-Id" in answer.headers["Access-Control-Expose-Headers"]
    refused = running.http().options("/v1/chat/completions", headers={**foreign, **asks})
    assert refused.status_code == 400
    assert "Access-Control-Allow-Origin" not in refused.headers
    assert "Access-Control-Allow-Credentials" not in preflight.headers


def test_without_the_setting_no_page_may_ask(running: Running) -> None:
    asked = running.http().get("/v1/models", headers={"Origin": "https://app.example"})
    assert "Access-Control-Allow-Origin" not in asked.headers
    with pytest.raises(StartRefused, match="ATTUNE_CORS_ORIGINS"):
        Settings(cors_origins="app.example").check()


def test_behind_a_prefix_all_is_as_without(start: Start) -> None:
    """Whether the proxy cuts the prefix or leaves it, the key is asked for, and the page finds its document."""
    running = start(root_path="/ai/attune")
    http = running.http(headers=AS_ANN)
    for prefix in ("", "/ai/attune"):
        assert http.post(f"{prefix}/v1/chat/completions", json=ask()).status_code == 200
        assert http.get(f"{prefix}/health").status_code == 200
        assert "href=openapi.json" in http.get(f"{prefix}/docs").text
        assert http.get(f"{prefix}/openapi.json").json()["servers"] == [{"url": "/ai/attune"}]
        http.put(f"{prefix}/v1/users/a%2Fb/values", json={"values": []})
        assert http.get(f"{prefix}/v1/users/a%2Fb/values").status_code == 200
    assert http.get("/ai/attunement/health").status_code == 404
    running.services.database.write_now(keys.create, "local", "test")

    def refused(path: str) -> bool:
        return http.get(path).status_code == 401

    for path in ("/v1/models", "/ai/attune/v1/models", "/ai/attune/v1/users/ann/export"):
        until(partial(refused, path))
