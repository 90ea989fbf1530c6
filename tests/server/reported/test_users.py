"""What users of other servers reported of users, keys and what is kept: each test names the thread that told of it."""

from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

from store import keys
from tests.server.conftest import Running, ask, closed
from tests.server.dialects.test_dialects import AS_ANN, CHAT, DIALECTS, post, refused


def test_a_user_that_is_left_out_is_nobody(running: Running) -> None:
    """The other side of it: two slashes there are a mistake that must not name somebody else."""
    running.http().put("/v1/users/export/values", json={"values": []})
    for path in ("/v1/users//export", "/v1/users/"):
        assert running.http().delete(running.url + path).status_code in (400, 404, 405)
    assert running.http().get("/v1/users/export/values").status_code == 200


def test_a_user_that_is_no_text_is_named(running: Running) -> None:
    """capacitor-community/intercom#68: an integer that became nobody."""
    for dialect in DIALECTS:
        assert refused(running, dialect, user=123)["param"] == "user"


def test_spaces_around_a_key_are_none_of_it(running: Running) -> None:
    """replayio/replay-cli#239, cds-snc/notification-api#2150, logicalclocks/hopsworks-api#185."""
    _, plain = running.services.database.write_now(keys.create, "acme", "a")
    closed(running)
    for header in ("Bearer   {}", "bearer {}", "BEARER {}"):
        for key, status in ((plain, 200), (f"{plain}x", 401)):
            sent = {"Authorization": header.format(key)}
            assert running.http().get("/v1/models", headers=sent).status_code == status


def test_a_user_may_be_called_anything_that_can_be_printed(running: Running) -> None:
    """othmar52/slimpd#3, statsfm/web#84, planety/prologue#127."""
    http, names = running.http(), ["a/b", "#%", "a?b=c", "é😀", "a b", "%2F", "x;y", "a\\b", "a+b", "user@x.org"]
    for name in names:
        path = f"/v1/users/{quote(name, safe='')}/values"
        assert http.put(path, json={"values": [{"preference": f"Be {name}"}]}).status_code == 200, name
    for name in names:
        values = http.get(f"/v1/users/{quote(name, safe='')}/values").json()["values"]
        assert [value["preference"] for value in values] == [f"Be {name}"]
    assert {user["id"] for user in http.get("/v1/users").json()["data"]} == set(names)


def test_what_is_deleted_takes_no_place_among_what_is_found(running: Running) -> None:
    """rohitg00/agentmemory#632, mem0ai/mem0#3695, supermemoryai/supermemory#142."""
    http, path, email = running.http(), "/v1/users/ann/preferences", "Write an email to Ann"
    texts = [f"Say {word} in each email" for word in "one two three four five six seven eight nine ten eleven".split()]
    ids = [http.post(path, json={"text": text, "context": email}).json()["id"] for text in texts]
    http.post(f"{path}/search", json={"context": email, "k": 3})  # an index of before
    for id in ids[:-1]:
        assert http.delete(f"{path}/{id}").status_code == 200
    found = http.post(f"{path}/search", json={"context": email, "k": 3}).json()["data"]
    assert [one["id"] for one in found] == ids[-1:]


def test_reading_and_writing_at_once_fails_nobody(running: Running) -> None:
    """SQLite's lock as 500s: DataZooDE/flapi#116, Arize-ai/phoenix#3949, cachethq/cachet#4620."""
    http = running.http()

    def one(number: int) -> int:
        user = f"/v1/users/u{number % 5}"
        if number % 3 == 0:
            return http.put(f"{user}/values", json={"values": [{"preference": f"Be {number}"}]}).status_code
        if number % 3 == 1:
            return http.post("/v1/chat/completions", json=ask(), headers={"X-User-Id": f"u{number % 5}"}).status_code
        return http.get("/v1/users").status_code

    with ThreadPoolExecutor(12) as threads:
        assert set(threads.map(one, range(60))) == {200}


def test_a_filter_has_no_wildcards(running: Running) -> None:
    """privacyidea/privacyidea#5561, rotki/rotki#9505, Crossbill-App/crossbill-web#305."""
    id = post(running, CHAT).json()["id"]
    http = running.http(headers=AS_ANN)
    assert http.post("/v1/feedback", json={"type": "thumbs", "completion_id": id, "thumb": "up"}).status_code == 202
    assert len(http.get("/v1/feedback", params={"completion_id": id}).json()["data"]) == 1
    for wildcard in ("%", "_", "%%", "chatcmpl-%"):
        assert http.get("/v1/feedback", params={"completion_id": wildcard}).json()["data"] == []
        assert http.get(f"/v1/turns/{quote(wildcard)}").status_code == 404
