"""Every kind of feedback over HTTP: durable, idempotent, listed, exported, erased, counted, and nobody else's."""

import json
from typing import Any

import httpx
import pytest

from preference import preferences
from preference.evidence import TENTATIVE
from preference.feedback import edit_rows, signals
from preference.learning.prompt_file import GENERAL
from preference.preferences import Preference
from server.routes.preferences import rendered
from store import jobs, turns
from store.owner import Owner
from tests.server.conftest import Running, Start, ask, until
from tests.server.dialects.test_dialects import AS_ANN
from tests.server.fake_engine import Script
from tests.server.observability.test_metrics import value

ANN = Owner("local", "ann")
AS_JSON = {"Content-Type": "application/json"}
LEARNING = {"worker_in_process": True, "learner_prompt": GENERAL, "history_days": 0}
SLOW = 120.0


@pytest.fixture
def running(start: Start) -> Running:
    """A server that finds no feedback by itself."""
    return start(history_days=0)


def answer(http: httpx.Client, *tokens: str, running: Running | None = None, **more: Any) -> str:
    """The id of an answer; with ``tokens`` of one that says them."""
    if running is not None:
        running.engine.enqueue(Script(tokens=list(tokens)))
    return str(http.post("/v1/chat/completions", json=ask(**more)).json()["id"])


def bodies(one: str, other: str) -> dict[str, dict[str, Any]]:
    """A body of each kind, about two answers to one request."""
    return {
        "edit": {"completion_id": one, "edited_text": "Hello world"},
        "demonstration": {"messages": [{"role": "user", "content": "Write to Bo"}], "text": "Hi Bo, see you at 9."},
        "comment": {"completion_id": one, "comment": "Too long, and never say 'kindly'."},
        "rating": {"completion_id": one, "rating": 6, "aspect": "tone"},
        "ranking": {"completion_ids": [other, one]},
        "thumbs": {"completion_id": one, "thumb": "up"},
        "signal": {"completion_id": one, "signal": "copied"},
        "outcome": {"completion_id": one, "name": "replied", "value": 1.5},
    }


def test_every_kind_is_durable_listed_exported_erased_and_counted(running: Running) -> None:
    http = running.http(headers=AS_ANN)
    one, other = answer(http, "Hello", running=running), answer(http, "Good", running=running)
    sent: dict[str, dict[str, Any]] = {}
    more = {"source": "app", "weight": 0.5, "tags": ["beta"], "metadata": {"screen": "7"}}
    for kind, body in bodies(one, other).items():
        body = {"type": kind, **body, **more}
        first, again = (http.post("/v1/feedback", json=body, headers={"Idempotency-Key": kind}) for _ in range(2))
        assert first.status_code == 202, first.text
        told = sent[kind] = first.json()
        assert again.json() == told, kind
        changed = http.post("/v1/feedback", json={**body, "weight": 1}, headers={"Idempotency-Key": kind})
        assert (changed.status_code, changed.json()["error"]["param"]) == (422, "Idempotency-Key")
        assert {name: told[name] for name in more} == more
        waits = kind in ("edit", "demonstration", "comment")
        assert told["status"] == ("pending" if waits else "nothing_learned")
        assert bool(told["reason"]) != waits
        assert told.items() <= http.get(f"/v1/feedback/{told['id']}").json().items()
        assert running.http().get(f"/v1/feedback/{told['id']}", headers={"X-User-Id": "bob"}).status_code == 404
        assert [row["id"] for row in http.get("/v1/feedback", params={"type": kind}).json()["data"]] == [told["id"]]
        counted = value(running, "attune_feedback_total", status="accepted" if kind == "edit" else kind)
        assert counted == 1, kind
    assert sent["rating"]["scale"] == "1-7"
    assert sent["ranking"]["ranking"] == [{"completion_id": id, "choice": 0} for id in (other, one)]
    assert sent["outcome"]["value"] == 1.5
    assert http.get("/v1/feedback", params={"source": "user"}).json()["data"] == []
    assert len(running.services.database.read_now(jobs.under_way, ANN, "learn")) == 3
    told = http.get("/v1/users/ann/feedback").json()
    assert told["counts"] == dict.fromkeys(sent, 1)
    lines = [json.loads(line) for line in http.get("/v1/users/ann/export").text.splitlines()]
    held = {row["type"]: row for row in lines if row["object"] == "feedback"}
    assert held.keys() == sent.keys()
    assert held["comment"]["content"] == {"comment": "Too long, and never say 'kindly'."}
    shown = sent["demonstration"]["completion_id"]
    assert http.get(f"/v1/turns/{shown}").json()["request"] == [{"role": "user", "content": "Write to Bo"}]
    for kind, row in sent.items():
        assert http.delete(f"/v1/feedback/{row['id']}").status_code == 200, kind
        assert http.get(f"/v1/feedback/{row['id']}").status_code == 404
        again = http.post(
            "/v1/feedback", json={"type": kind, **bodies(one, other)[kind], **more}, headers={"Idempotency-Key": kind}
        )
        assert (again.status_code, again.json()["id"]) == (202, row["id"]), "it counts once, also when it is gone"
    assert http.get("/v1/feedback").json()["data"] == []
    assert http.get(f"/v1/turns/{shown}").status_code == 404
    for file in running.services.settings.data_dir.glob("attune.db*"):
        assert b"kindly" not in file.read_bytes(), file.name


def test_the_apps_own_name_of_an_answer_is_one_for_feedback(running: Running) -> None:
    http = running.http(headers=AS_ANN)
    first, second = (answer(http, attune={"client_id": "msg 7"}) for _ in range(2))
    told = http.post("/v1/feedback", json={"type": "thumbs", "completion_id": "msg 7", "thumb": "up"}).json()
    assert told["completion_id"] == second != first, "the newest that was called so"
    listed = http.get("/v1/feedback", params={"completion_id": "msg 7"}).json()["data"]
    assert [row["id"] for row in listed] == [told["id"]]
    theirs = running.http().post(
        "/v1/feedback", json={"type": "thumbs", "completion_id": "msg 7", "thumb": "up"}, headers={"X-User-Id": "bob"}
    )
    assert theirs.status_code == 404
    refused = http.post("/v1/chat/completions", json=ask(attune={"client_id": ""}))
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "attune.client_id")


def test_what_is_said_anew_replaces_its_own_alone(running: Running) -> None:
    http = running.http(headers=AS_ANN)
    id = answer(http)

    def give(**body: Any) -> str:
        response = http.post("/v1/feedback", json={"completion_id": id, **body})
        assert response.status_code == 202, response.text
        return str(response.json()["id"])

    tone, whole = (give(type="rating", rating=3, **more) for more in ({"aspect": "tone"}, {}))
    again = give(type="rating", rating=5)
    said = [give(type="comment", comment=text) for text in ("Too long", "too  long.", "No emojis")]
    copied = [give(type="signal", signal="copied") for _ in range(2)]
    minutes = [give(type="outcome", name="minutes", value=number) for number in (1, 2)]
    found = {row["id"]: row["status"] for row in http.get("/v1/feedback", params={"limit": 100}).json()["data"]}
    assert (found[tone], found[whole], found[again]) == ("nothing_learned", "replaced", "nothing_learned")
    assert [found[one] for one in said] == ["replaced", "pending", "pending"]
    assert copied[0] == copied[1], "a signal that was given is that one"
    assert minutes[0] not in found, "nothing grows by outcomes that change"
    assert found[minutes[1]] == "nothing_learned"
    for number in range(14):
        give(type="comment", comment=f"Comment {number}")
    full = http.post("/v1/feedback", json={"type": "comment", "completion_id": id, "comment": "One more"})
    assert (full.status_code, full.json()["error"]["param"]) == (409, "comment")
    for number in range(14):
        give(type="rating", rating=4, aspect=f"Aspect {number}")
    full = http.post("/v1/feedback", json={"type": "rating", "completion_id": id, "rating": 4, "aspect": "One more"})
    assert (full.status_code, full.json()["error"]["param"]) == (409, "aspect")


def test_rankings_and_ratings_are_kept_apart_and_exported_as_trl_reads_them(running: Running) -> None:
    http = running.http(headers=AS_ANN)
    ids = [answer(http, text, running=running) for text in ("one", "two", "three")]
    assert http.post("/v1/feedback", json={"type": "ranking", "completion_ids": ids}).status_code == 202
    for id, rating in zip(ids, (2, 5, 5), strict=True):
        http.post("/v1/feedback", json={"type": "rating", "completion_id": id, "rating": rating})
    told = http.get("/v1/users/ann/feedback").json()["consistency"]
    assert told == {"pairs": 3, "agree": 0, "disagree": 2, "tied": 1}

    def rows(format: str) -> list[dict[str, Any]]:
        text = http.get("/v1/users/ann/export", params={"format": format}).text
        return [json.loads(line) for line in text.splitlines()]

    pairs = [(row["chosen"][0]["content"], row["rejected"][0]["content"]) for row in rows("rankings")]
    assert pairs == [("one", "two"), ("one", "three")]
    assert [(row["completion"][0]["content"], row["label"]) for row in rows("ratings")] == [("one", False)]
    http.post("/v1/feedback", json={"type": "edit", "completion_id": ids[0], "edited_text": "One."})
    (row,) = rows("completions")
    assert (row["prompt"][-1]["role"], row["completion"][0]["content"]) == ("user", "One.")
    newer = http.post("/v1/feedback", json={"type": "ranking", "completion_ids": ids[::-1]}).json()
    standing = http.get("/v1/feedback", params={"type": "ranking", "status": "nothing_learned"}).json()["data"]
    assert [row["id"] for row in standing] == [newer["id"]], "of the same answers the newest ranking stands"


def test_choices_of_one_answer_are_ranked_too(running: Running) -> None:
    http = running.http(headers=AS_ANN)
    id = answer(http, n=2)
    told = http.post("/v1/feedback", json={"type": "ranking", "completion_id": id, "choices": [1, 0]}).json()
    assert told["ranking"] == [{"completion_id": id, "choice": 1}, {"completion_id": id, "choice": 0}]


@pytest.fixture
def shared(running: Running) -> tuple[httpx.Client, dict[str, str]]:
    http = running.http(headers=AS_ANN)
    ids = {"one": answer(http), "two": answer(http), "elsewhere": answer(http, text="Another request")}
    ids["theirs"] = answer(running.http(headers={"X-User-Id": "bob"}))
    return http, ids


def test_bad_bodies_name_their_field(shared: tuple[httpx.Client, dict[str, str]]) -> None:
    http, ids = shared
    rating = {"type": "rating", "completion_id": "one"}
    user = {"role": "user", "content": "x"}
    cases: list[tuple[dict[str, Any], int, str]] = [
        ({**rating, "rating": 8}, 400, "rating"),
        ({**rating, "rating": 6, "scale": "1-5"}, 400, "rating"),
        ({**rating, "rating": 3, "scale": "0-100"}, 400, "scale"),
        ({**rating, "rating": "3"}, 400, "rating"),
        ({**rating, "rating": 3, "aspect": "\x00"}, 400, "aspect"),
        ({"type": "ranking", "completion_ids": ["one", "gone"]}, 404, "completion_ids.1"),
        ({"type": "ranking", "completion_ids": ["one", "theirs"]}, 404, "completion_ids.1"),
        ({"type": "ranking", "completion_ids": ["one", "one"]}, 400, "completion_ids"),
        ({"type": "ranking", "completion_ids": ["one"]}, 400, "completion_ids"),
        ({"type": "ranking", "completion_ids": ["one", "elsewhere"]}, 400, "completion_ids.1"),
        ({"type": "ranking", "completion_id": "one", "choices": [0, 1]}, 400, "choices.1"),
        ({"type": "ranking", "completion_id": "one", "completion_ids": ["one", "two"]}, 400, "completion_ids"),
        ({"type": "ranking"}, 400, "completion_ids"),
        ({"type": "comment", "completion_id": "one", "comment": " "}, 400, "comment"),
        ({"type": "comment", "completion_id": "one", "comment": "x" * 4001}, 400, "comment"),
        ({"type": "comment", "completion_id": "theirs", "comment": "x"}, 404, "completion_id"),
        ({"type": "signal", "completion_id": "one", "signal": "liked"}, 400, "signal"),
        ({"type": "signal", "completion_id": "gone", "signal": "copied"}, 404, "completion_id"),
        ({"type": "outcome", "completion_id": "one", "name": "", "value": 1}, 400, "name"),
        ({"type": "outcome", "completion_id": "one", "name": "x", "value": "1"}, 400, "value"),
        ({"type": "outcome", "completion_id": "one", "name": "x", "value": 1e308}, 400, "value"),
        ({"type": "demonstration", "messages": [], "text": "x"}, 400, "messages"),
        ({"type": "demonstration", "messages": [{"role": "assistant", "content": "x"}], "text": "x"}, 400, "messages"),
        ({"type": "demonstration", "messages": [user], "text": " "}, 400, "text"),
        ({"type": "demonstration", "messages": [{**user, "extra": 1}], "text": "x"}, 400, "messages.0.extra"),
        ({"type": "demonstration", "completion_id": "one", "messages": [user], "text": "x"}, 400, "completion_id"),
        ({"type": "edit", "completion_id": "one", "edited_text": ""}, 400, "edited_text"),
        ({**rating, "rating": 3, "weight": 1.5}, 400, "weight"),
        ({**rating, "rating": 3, "source": "history"}, 400, "source"),
        ({**rating, "rating": 3, "tags": ["x"] * 17}, 400, "tags"),
        ({**rating, "rating": 3, "tags": ["\ud800"]}, 400, "tags.0"),
        ({"type": "praise", "completion_id": "one"}, 400, "type"),
    ]

    def named(value: Any) -> Any:
        return (
            [ids.get(one, one) if isinstance(one, str) else one for one in value] if isinstance(value, list) else value
        )

    for body, status, param in cases:
        told = {name: named(value) for name, value in body.items()}
        if "completion_id" in body:
            told["completion_id"] = ids.get(body["completion_id"], body["completion_id"])
        response = http.post("/v1/feedback", content=json.dumps(told), headers=AS_JSON)
        assert (response.status_code, response.json()["error"]["param"]) == (status, param), (body, response.text)
    assert "discarded" in http.post(
        "/v1/feedback", json={"type": "edit", "completion_id": ids["one"], "edited_text": ""}
    ).json()["error"]["message"]  # fmt: skip
    assert http.get("/v1/feedback").json()["data"] == [], "what is refused leaves nothing"
    infinite = f'{{"type": "outcome", "completion_id": "{ids["one"]}", "name": "x", "value": 1e999}}'
    assert http.post("/v1/feedback", content=infinite, headers=AS_JSON).status_code == 400


def test_feedback_on_a_stream_that_runs_is_a_conflict_by_the_apps_own_name(running: Running) -> None:
    http = running.http(headers=AS_ANN)
    done = answer(http)
    running.engine.enqueue(Script(hang=True))
    body = ask(stream=True, attune={"client_id": "mine"})
    signal = {"type": "signal", "completion_id": "mine", "signal": "discarded"}
    with http.stream("POST", "/v1/chat/completions", json=body) as response:
        lines = response.iter_lines()
        next(lines)
        other = running.http(headers=AS_ANN)
        assert other.post("/v1/feedback", json=signal).status_code == 409
        assert other.post("/v1/feedback", json={**signal, "completion_id": "another"}).status_code == 404
        ranking = {"type": "ranking", "completion_ids": [done, "mine"]}
        assert other.post("/v1/feedback", json=ranking).status_code == 409


def test_many_signals_are_refused_and_edits_go_on(start: Start) -> None:
    running = start(signals_per_minute=5, history_days=0)
    http = running.http(headers=AS_ANN)
    ids = [answer(http) for _ in range(8)]
    signals = [
        http.post("/v1/feedback", json={"type": "signal", "completion_id": id, "signal": "copied"}) for id in ids
    ]
    refused = [one for one in signals if one.status_code == 429]
    assert 1 <= len(refused) <= 3
    assert int(refused[0].headers["Retry-After"]) >= 1
    for id in ids:
        edit = {"type": "edit", "completion_id": id, "edited_text": "Better"}
        assert http.post("/v1/feedback", json=edit).status_code == 202


def test_a_demonstration_teaches_like_an_edit_of_what_would_have_been_written(start: Start) -> None:
    running = start(**LEARNING)
    http = running.http(headers=AS_ANN)
    http.timeout = httpx.Timeout(SLOW)
    request = [{"role": "user", "content": "Write to Bo about the meeting"}]
    draft = ["Hello", " Bo!", " The", " meeting", " is", " at", " nine!", " Be", " there!"]
    running.engine.enqueue(Script(tokens=draft))
    body = {"type": "demonstration", "messages": request, "text": "Hello Bo. The meeting is at nine. Be there."}
    id = http.post("/v1/feedback", json=body).json()["id"]

    def told() -> Any:
        held = http.get(f"/v1/feedback/{id}").json()
        return held if held["status"] != "pending" else None

    learned = until(told, SLOW)
    assert learned["status"] == "learned", learned
    assert 0 < learned["cost"] < 1
    known = http.get("/v1/users/ann/preferences").json()["data"]
    assert [one["text"] for one in known] == ["Do not use exclamation marks; keep the tone calm."]
    found = http.post("/v1/users/ann/preferences/search", json={"context": request[0]["content"]}).json()["data"]
    assert [one["id"] for one in found] == learned["learned"]
    turn = running.services.database.read_now(turns.get, ANN, learned["completion_id"])
    assert (turn.answers, turn.partial) == (["".join(draft)], False)
    (edit,) = running.services.database.read_now(edit_rows.edits, ANN)
    assert (edit.draft, edit.edited_text) == ("".join(draft), body["text"])
    assert running.engine.requests[-1]["max_tokens"] <= 2048


def test_a_comment_teaches_tentatively_and_an_edit_makes_it_hold(start: Start) -> None:
    running = start(**LEARNING)
    http = running.http(headers=AS_ANN)
    http.timeout = httpx.Timeout(SLOW)
    text = "Write to Bo about the meeting"
    draft = ["Hello", " Bo!", " The", " meeting", " is", " at", " nine!", " Be", " there!"]
    id = answer(http, *draft, running=running, text=text)

    def give(**body: Any) -> Any:
        sent = http.post("/v1/feedback", json=body).json()["id"]
        until(lambda: http.get(f"/v1/feedback/{sent}").json()["status"] != "pending", SLOW)
        return http.get(f"/v1/feedback/{sent}").json()

    told = give(type="comment", completion_id=id, comment="No exclamation marks, please!")
    assert (told["status"], len(told["learned"])) == ("learned", 1)
    (known,) = http.get("/v1/users/ann/preferences").json()["data"]
    assert (known["text"], known["standing"]) == ("Do not use exclamation marks; keep the tone calm.", "tentative")
    second = answer(http, *draft, running=running, text=text)
    give(type="edit", completion_id=second, edited_text="Hello Bo. The meeting is at nine. Be there.")
    (known,) = http.get("/v1/users/ann/preferences").json()["data"]
    assert known["evidence"] > 1
    third = answer(http, *draft, running=running, text=text)
    give(type="edit", completion_id=third, edited_text="Hello Bo. The meeting is at nine. Be there.")
    assert http.get("/v1/users/ann/preferences").json()["data"][0]["standing"] == "held"
    nothing = give(type="comment", completion_id=third, comment="It is on Friday.")
    assert nothing["status"] == "nothing_learned"
    http.delete(f"/v1/feedback/{told['id']}")
    assert len(http.get("/v1/users/ann/preferences").json()["data"]) == 1, "edits speak for it as well"


def test_signals_weigh_within_bounds_make_nothing_and_end_nothing(start: Start) -> None:
    running = start(**LEARNING)
    http = running.http(headers=AS_ANN)
    http.timeout = httpx.Timeout(SLOW)
    text = "Write to Bo about the meeting"
    draft = ["Hello", " Bo!", " The", " meeting", " is", " at", " nine!", " Be", " there!"]
    id = answer(http, *draft, running=running, text=text)
    edit = {"type": "edit", "completion_id": id, "edited_text": "Hello Bo. The meeting is at nine. Be there."}
    sent = http.post("/v1/feedback", json=edit).json()["id"]
    until(lambda: http.get(f"/v1/feedback/{sent}").json()["status"] == "learned", SLOW)
    database = running.services.database

    def favour() -> float:
        return database.read_now(preferences.active, ANN)[0].favour

    given = []
    for _ in range(30):
        again = answer(http, text=text)
        body = {"type": "signal", "completion_id": again, "signal": "discarded"}
        given.append(http.post("/v1/feedback", json=body).json()["id"])
    assert favour() == -1.0
    assert len(http.post("/v1/users/ann/preferences/search", json={"context": text}).json()["data"]) == 1
    for one in given[:29]:
        http.delete(f"/v1/feedback/{one}")
    assert favour() == pytest.approx(signals.SAYS["discarded"] / signals.FULL)
    assert len(database.read_now(preferences.all_of, ANN)) == 1


def test_comments_alone_make_nothing_hold() -> None:
    held = Preference("pref-1", "Be brief", "learned", "active", None, False, 0.0, 0.0)
    assert rendered(held, [TENTATIVE] * 6).standing == "tentative"
    assert rendered(held, [1.0, 1.0]).standing == "held"


def test_an_answer_that_broke_off_stays_what_its_user_saw(start: Start) -> None:
    running = start(**LEARNING)
    running.engine.enqueue(Script(tokens=["Hello", " Bo", " and"], hang=True))
    with running.client().chat.completions.create(**ask(stream=True), extra_headers=AS_ANN) as chunks:
        id = next(chunks).id
    until(lambda: running.services.database.read_now(turns.page, ANN), SLOW)
    before = running.services.database.read_now(turns.get, ANN, id)
    assert before.partial
    http = running.http(headers=AS_ANN)
    sent = {"type": "edit", "completion_id": id, "edited_text": "Hello Bo and Ann, see you at nine."}
    told = http.post("/v1/feedback", json=sent).json()
    until(lambda: http.get(f"/v1/feedback/{told['id']}").json()["status"] != "pending", SLOW)
    assert running.services.database.read_now(turns.get, ANN, id) == before
