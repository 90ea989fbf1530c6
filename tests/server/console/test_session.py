"""The console over HTTP: its page and files, signing in and out, whose requests the cookie makes."""

import base64
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import httpx
import pytest

from adapters.lifecycle import versions
from preference.evidence import Standing
from preference.feedback import feedback
from preference.learning.findings import Verdict
from server.admission.session import COOKIE, is_same_origin
from server.console import assets
from server.routes import jobs
from store import keys
from store.tokens import Scope
from store.values import Dimension
from tests.server.conftest import Running, Start, ask, closed, until, with_key

CONSOLE = Path(assets.__file__).parent
OURS = {"Sec-Fetch-Site": "same-origin"}


def signed_in(running: Running, key: str, **headers: str) -> httpx.Client:
    http = running.http(headers=OURS | headers)
    answer = http.post("/console/session", json={"key": key})
    assert answer.status_code == 200, answer.text
    return http


def test_the_page_runs_scripts_of_its_own_origin_alone(running: Running) -> None:
    http = running.http()
    moved = http.get("/console?x=1")
    assert (moved.status_code, moved.headers["location"]) == (307, "console/?x=1")
    page = http.get("/console/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(part.split(" ", 1) for part in page.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert page.headers["referrer-policy"] == "same-origin"
    assert not re.search(r"<script(?![^>]*\ssrc=)|\son\w+=|style=|https?:", page.text)
    named = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(named) > 3
    for name in named:
        assert http.get(f"/console/{name}").status_code == 200, name


def test_files_come_packed_and_for_good(running: Running) -> None:
    http = running.http()
    name = "static/style.css"
    file = http.get(f"/console/files/{assets.version()}/{name}")
    assert file.text == (CONSOLE / name).read_text()
    assert file.headers["content-encoding"] == "gzip"
    assert "immutable" in file.headers["cache-control"]
    plain = http.get(f"/console/files/{assets.version()}/{name}", headers={"Accept-Encoding": "identity"})
    assert plain.content == (CONSOLE / name).read_bytes()
    assert "content-encoding" not in plain.headers
    other = http.get(f"/console/files/0/{name}", headers={"If-None-Match": file.headers["etag"]})
    assert (other.status_code, other.headers["cache-control"]) == (304, "no-cache")
    for nowhere in ("static/nothing.js", "../routes.py", "static/%2e%2e/routes.py", "routes.py", "static"):
        assert http.get(f"/console/files/{assets.version()}/{nowhere}").status_code == 404, nowhere


def test_all_that_the_page_loads_is_small() -> None:
    packed = sum(len(asset.packed or asset.content) for asset in assets.assets().values())
    assert packed < 250_000


def test_a_key_signs_a_browser_in_and_out(running: Running) -> None:
    _, key = with_key(running)
    http = signed_in(running, key)
    cookie = http.cookies[COOKIE]
    assert key not in cookie
    told = http.get("/v1/caller").json()
    assert told == {
        "object": "caller", "kind": "api_key", "tenant": "acme", "name": "test", "user": None, "scopes": None,
        "operator": False,
    }  # fmt: skip
    assert http.post("/v1/chat/completions", json=ask()).status_code == 200
    assert http.delete("/console/session").status_code == 204
    assert COOKIE not in http.cookies
    assert http.get("/v1/caller").status_code == 401
    assert running.http(headers=OURS | {"Cookie": f"{COOKIE}={cookie}"}).get("/v1/caller").status_code == 200


def test_the_cookie_is_for_no_script_and_no_other_site(running: Running) -> None:
    _, key = with_key(running)
    answer = running.http(headers=OURS).post("/console/session", json={"key": key})
    attributes = answer.headers["set-cookie"].lower()
    assert "httponly" in attributes
    assert "samesite=strict" in attributes
    assert "path=/" in attributes
    assert "secure" not in attributes.split("; ")
    for said in ({"X-Forwarded-Proto": "https"}, {"Origin": "https://attune.example"}):
        over_tls = running.http(headers=OURS | said).post("/console/session", json={"key": key})
        assert "secure" in over_tls.headers["set-cookie"].lower().split("; ")


FOREIGN: list[dict[str, str]] = [
    {},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "none"},
    {"Sec-Fetch-Site": "cross-site", "Origin": "http://{host}"},
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:1"},
    {"Origin": "http://[::1"},
    {"Referer": "http://evil.example/http://{host}/"},
]


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_no_other_sites_page_can_use_the_cookie(running: Running, headers: dict[str, str]) -> None:
    _, key = with_key(running)
    http = signed_in(running, key)
    host = running.url.removeprefix("http://")
    foreign = running.http(
        headers={k: v.replace("{host}", host) for k, v in headers.items()}, cookies=dict(http.cookies)
    )
    for method, path in (("GET", "/v1/caller"), ("POST", "/v1/users/ann/preferences"), ("DELETE", "/v1/users/ann")):
        assert foreign.request(method, path, json={"text": "x"}).status_code == 401, path
    assert foreign.post("/console/session", json={"key": key}).status_code == 403
    assert foreign.delete("/console/session").status_code == 403


@pytest.mark.parametrize("header", ["Origin", "Referer"])
def test_where_browsers_say_no_site_the_origin_counts(running: Running, header: str) -> None:
    _, key = with_key(running)
    http = signed_in(running, key)
    named = {header: running.url + ("/console/" if header == "Referer" else "")}
    assert running.http(headers=named, cookies=dict(http.cookies)).get("/v1/caller").status_code == 200
    assert is_same_origin({"host": "Attune.example", "origin": "https://attune.example"})
    assert not is_same_origin({"origin": "https://attune.example"})


def test_a_wrong_key_signs_nobody_in(running: Running) -> None:
    http = running.http(headers=OURS)
    refused = http.post("/console/session", json={"key": "att-wrong"})
    assert (refused.status_code, refused.json()["error"]["message"]) == (
        401, "No API key exists yet: nobody needs to sign in.",
    )  # fmt: skip
    with_key(running)
    for wrong in ("att-wrong", "attu-wrong", "\ud800", " "):
        answer = http.post("/console/session", content=json.dumps({"key": wrong}))
        assert answer.status_code in (400, 401), wrong
        assert "set-cookie" not in answer.headers
    for body in ({}, {"key": ""}, {"key": "x" * 257}, {"key": 1}, {"key": "a", "x": 1}):
        assert http.post("/console/session", json=body).status_code == 400


DEEP = base64.urlsafe_b64encode(b"[" * 2700).decode()


def named(*whose: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(whose).encode()).decode()


@pytest.mark.parametrize(
    "damage",
    [
        "",
        "x",
        "{id}",
        "{id}.",
        "{id}.x",
        ".{box}",
        "{other}.{box}",
        "{token}.{box}",
        "{odd}.{box}",
        "{id}.{box}x",
        "{deep}.{box}",
    ],
)
def test_a_damaged_cookie_is_nobodys(running: Running, damage: str) -> None:
    id, key = with_key(running)
    other, _ = running.services.database.write_now(keys.create, "beta", "test")
    name, _, box = signed_in(running, key).cookies[COOKIE].partition(".")
    assert name == named(id)
    value = damage.format(
        id=name, box=box, other=named(other), token=named(id, "acme", "ann"), odd=named(1, 2), deep=DEEP
    )
    answer = running.http(headers=OURS | {"Cookie": f"{COOKIE}={value}"}).get("/v1/caller")
    assert answer.status_code == 401


def test_a_session_ends_with_its_key(running: Running) -> None:
    id, key = with_key(running)
    http = signed_in(running, key)
    assert http.get("/v1/caller").status_code == 200
    running.services.database.write_now(keys.revoke, id)
    until(lambda: http.get("/v1/caller").status_code == 401)
    assert "sign in again" in http.get("/v1/caller").json()["error"]["message"]


def test_a_users_token_sees_that_user_alone(running: Running) -> None:
    _, key = with_key(running)
    app = running.http(headers={"Authorization": f"Bearer {key}"})
    made = app.post("/v1/users/ann/tokens", json={}).json()
    http = signed_in(running, made["token"])
    told = http.get("/v1/caller").json()
    assert (told["kind"], told["user"], told["operator"]) == ("user_token", "ann", False)
    assert http.post("/v1/users/ann/preferences", json={"text": "Be brief"}).status_code == 201
    assert http.get("/v1/curve").status_code == 200
    for path in ("/v1/users/bob/preferences", "/v1/users", "/v1/jobs", "/v1/keys", "/v1/status", "/v1/curve?of=tenant"):
        assert http.get(path).status_code == 403, path
    assert http.delete("/v1/users/ann").status_code == 403
    app.delete(f"/v1/users/ann/tokens/{made['id']}")
    until(lambda: http.get("/v1/caller").status_code == 401)


def test_a_header_goes_before_the_cookie(running: Running) -> None:
    _, one = with_key(running, "one")
    _, two = running.services.database.write_now(keys.create, "two", "test")
    http = signed_in(running, one)
    assert http.get("/v1/caller", headers={"Authorization": f"Bearer {two}"}).json()["tenant"] == "two"
    assert http.get("/v1/caller").json()["tenant"] == "one"
    assert http.get("/v1/caller", headers={"Authorization": "Bearer att-wrong"}).status_code == 401


def test_without_any_key_another_servers_cookie_does_no_harm(running: Running) -> None:
    http = running.http(headers=OURS | {"Cookie": f"{COOKIE}=abc.def"})
    assert http.get("/v1/caller").json()["kind"] == "local"
    assert http.get("/v1/caller").json()["operator"] is True


def test_any_server_on_the_same_store_knows_the_cookie(start: Start, database_url: str, tmp_path: Path) -> None:
    first = start(database_url=database_url)
    second = start(database_url=database_url, data_dir=tmp_path / "other", root_path="/attune")
    _, key = with_key(first)
    cookies = dict(signed_in(first, key).cookies)
    closed(second)
    assert second.http(headers=OURS, cookies=cookies).get("/attune/v1/caller").json()["tenant"] == "acme"
    behind = second.http(headers=OURS).post("/attune/console/session", json={"key": key})
    assert "path=/attune" in behind.headers["set-cookie"].lower()
    assert second.http().get("/attune/console/").text == first.http().get("/console/").text


# The catalogues


def catalogue(language: str) -> dict[str, str]:
    texts: dict[str, str] = json.loads((CONSOLE / "locales" / f"{language}.json").read_text())
    return texts


def called() -> Iterator[str]:
    """What stands between the brackets of each ``t(...)``."""
    for path in sorted((CONSOLE / "static").rglob("*.js")):
        source = path.read_text()
        for call in re.finditer(r"\bt\(", source):
            depth, end = 1, call.end()
            while depth:
                depth += {"(": 1, ")": -1}.get(source[end], 0)
                end += 1
            yield source[call.end() : end - 1]


def used() -> tuple[set[str], set[str]]:
    """Whole keys, and beginnings of keys, that the scripts name."""
    whole, begun = set(), set()
    for arguments in called():
        first = arguments.split("{")[0] if not arguments.startswith("`") else arguments.split(",")[0]
        whole |= set(re.findall(r'"([a-z_]+(?:\.[\w+.]+)?)"', first))
        begun |= {key for key in re.findall(r"`([a-z_.]+)\$\{", arguments)}
    return {key for key in whole if "." in key or key in catalogue("en")}, begun


def has(texts: dict[str, str], key: str) -> bool:
    return key in texts or (f"{key}.one" in texts and f"{key}.other" in texts)


def test_each_language_has_every_text() -> None:
    english = catalogue("en")
    assert {path.stem for path in (CONSOLE / "locales").iterdir()} == {"en", "de"}
    for language in ("de",):
        texts = catalogue(language)
        assert texts.keys() == english.keys()
        for key, text in texts.items():
            assert text.strip()
            assert set(re.findall(r"\{\w+\}", text)) == set(re.findall(r"\{\w+\}", english[key])), key


def test_every_key_that_is_used_exists_and_no_other() -> None:
    english = catalogue("en")
    whole, begun = used()
    assert len(whole) > 150
    assert [key for key in sorted(whole) if not has(english, key)] == []
    assert [start for start in sorted(begun) if not any(key.startswith(start) for key in english)] == []
    named = whole | {key for key in english for start in begun if key.startswith(start)}
    written = "\n".join(path.read_text() for path in (CONSOLE / "static").rglob("*.js"))
    unused = [
        k
        for k in english
        if re.sub(r"\.(one|other)$", "", k) not in named and k not in named and f'"{k}"' not in written
    ]
    assert unused == []


SAID = {
    "feedback": feedback.Status, "verdict": Verdict, "standing": Standing, "dimension": Dimension, "scope": Scope,
    "state": versions.State, "job_state": jobs.State,
}  # fmt: skip


@pytest.mark.parametrize("prefix", SAID)
def test_each_word_of_the_servers_has_a_text(prefix: str) -> None:
    english = catalogue("en")
    assert [word for word in get_args(SAID[prefix]) if f"{prefix}.{word}" not in english] == []


def test_no_script_makes_html_of_a_text() -> None:
    for path in (CONSOLE / "static").rglob("*.js"):
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", path.read_text()
        )


def test_the_wheel_has_every_file() -> None:
    """As setuptools collects them, by pyproject.toml."""
    root = CONSOLE.parents[1]
    code = (
        "from setuptools.dist import Distribution; d = Distribution({'script_name': 'x'}); d.parse_config_files();"
        "b = d.get_command_obj('build_py'); b.ensure_finalized();"
        "print(*(f'{folder}/{name}' for _, folder, _, names in b.data_files for name in names), sep='\\n')"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=root, check=True, capture_output=True, text=True)
    held = {line.removeprefix("./") for line in ran.stdout.splitlines()}
    wanted = {
        str(path.relative_to(root))
        for path in CONSOLE.rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc") and path.name != "README.md"
    }
    assert wanted
    assert wanted - held == set()
    assert any(path.endswith("console/vendor/diff/LICENSE.txt") for path in held)


def test_who_signs_in_sends_little(running: Running) -> None:
    with_key(running)
    answer = running.http(headers=OURS).post("/console/session", json={"key": "x" * 10_000})
    assert (answer.status_code, answer.json()["error"]["type"]) == (413, "invalid_request_error")
