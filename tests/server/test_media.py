"""Media: nothing by default, else data: URLs or hosts that operators named."""

from typing import Any

import pytest

from server.errors import StartRefused
from server.media import check_media
from server.settings import Settings
from store.errors import Invalid
from tests.server.conftest import Start, ask
from tests.server.http.test_errors import check

DATA, HOST = "data:image/png;base64,iVBORw0KGgo=", "https://images.example.com/a.png?x=1"


def image(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url, "detail": "auto"}}


@pytest.mark.parametrize(
    ("part", "allowed"),
    [
        (image(DATA), "data"),
        (image(HOST), "data, Images.Example.com"),
        (image("HTTP://IMAGES.EXAMPLE.COM:8080"), "images.example.com"),
        ({"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": "/9j/4AAQ"}}, "data"),
        ({"type": "input_audio", "input_audio": {"data": "//uQxAAA", "format": "mp3"}}, "data"),
    ],
)
def test_what_is_named_is_let_through(part: dict[str, Any], allowed: str) -> None:
    check_media(part, Settings(allow_media=allowed).media, "messages.0.content.0")
    with pytest.raises(Invalid, match="only text"):
        check_media(part, Settings().media, "messages.0.content.0")


@pytest.mark.parametrize(
    "url",
    [
        DATA, "https://evil.example/a.png", "http://169.254.169.254/latest/meta-data", "file:///etc/passwd", "ftp://x/y",
        "https://images.example.com@evil.example/", "https://evil.example#images.example.com",
        "https://images.example.com.evil.example/", "https://images.example.com\\@evil.example/", " file:///etc/passwd",
        "ht\ntps://evil.example/", "https://evil.example\\.images.example.com/", "https:/evil.example",
        "https:evil.example", "h" + "\n" * 500 + "ttps://evil.example/",
        "https://[::1]/", "s3://bucket/key",
    ],
)  # fmt: skip
def test_any_other_url_is_refused(url: str) -> None:
    for part in (
        image(url),
        {"type": "image", "source": {"type": "url", "url": url}},
        {"type": "x", "y": [{"z": url}]},
    ):
        with pytest.raises(Invalid):
            check_media(part, frozenset({"images.example.com"}), "messages.0.content.0")


@pytest.mark.parametrize("setting", ["true", "all", "https://images.example.com", "*", "data,*.example.com"])
def test_a_setting_that_names_no_host_is_refused(setting: str) -> None:
    with pytest.raises(StartRefused, match="ATTUNE_ALLOW_MEDIA"):
        Settings(allow_media=setting).check()


def test_through_the_api(start: Start) -> None:
    running = start(allow_media="data")
    http = running.http()
    sent = {"model": "fake-model", "messages": [{"role": "user", "content": [image(DATA)]}]}
    assert http.post("/v1/chat/completions", json=sent).status_code == 200
    sent["messages"] = [{"role": "user", "content": [image(HOST)]}]
    assert "ATTUNE_ALLOW_MEDIA" in check(http.post("/v1/chat/completions", json=sent), 400, "messages.0.content.0")
    assert http.post("/v1/chat/completions", json=ask()).status_code == 200


def test_an_image_goes_through_and_its_answer_is_personal(start: Start) -> None:
    running = start(allow_media="data")
    http = running.http(headers={"X-User-Id": "ann"})
    assert http.post("/v1/users/ann/preferences", json={"text": "Name the colours first"}).status_code == 201
    content = [image(DATA), {"type": "text", "text": "What is in this picture?"}]
    sent = {"model": "fake-model", "messages": [{"role": "user", "content": content}]}
    answer = http.post("/v1/chat/completions", json=sent).json()
    assert [one["text"] for one in answer["attune"]["preferences"]] == ["Name the colours first"]
    *as_sent, personal = running.engine.requests[-1]["messages"][-1]["content"]
    assert as_sent == content
    assert "Name the colours first" in personal["text"]
    other = running.http(headers={"X-User-Id": "bob"}).post("/v1/chat/completions", json=sent).json()
    assert other["attune"]["preferences"] == []
    assert running.engine.requests[-1]["messages"][-1]["content"] == content
