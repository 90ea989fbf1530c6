"""Edits and thumbs over HTTP: durable with their jobs, counted once under a key, and of one's own answers alone."""

from preference.feedback import feedback
from tests.server.conftest import Running, Start
from tests.server.sending import ANN, AS_ANN, EDIT, chat, edit, queued, thumb


def test_an_edit_is_durable_with_its_job(running: Running) -> None:
    completion_id = chat(running)
    accepted = edit(running, completion_id)
    assert accepted.status_code == 202, accepted.text
    told = accepted.json()
    assert (told["object"], told["status"], told["completion_id"]) == ("feedback", "pending", completion_id)
    assert 0 < told["cost"] < 1
    assert queued(running) == [("learn", told["id"])]
    whole = {**told, "edited_text": "Hello, dear world!"}
    assert running.http().get(f"/v1/feedback/{told['id']}", headers=AS_ANN).json() == whole
    assert running.http().get(f"/v1/feedback/{told['id']}?user=ann").json() == whole


def test_the_user_may_be_in_the_body(running: Running) -> None:
    body = {**EDIT, "completion_id": chat(running), "user": "ann"}
    assert running.http().post("/v1/feedback", json=body).status_code == 202


def test_an_idempotency_key_counts_once(running: Running) -> None:
    completion_id = chat(running)
    first, again = (edit(running, completion_id, {"Idempotency-Key": "k1"}) for _ in range(2))
    assert first.json() == again.json()
    assert len(queued(running)) == 1
    other = edit(running, completion_id, {"Idempotency-Key": "k1"}, edited_text="Something else")
    assert other.status_code == 422
    assert other.json()["error"]["param"] == "Idempotency-Key"


def test_somebody_elses_completion(running: Running) -> None:
    completion_id = chat(running)
    answer = edit(running, completion_id, {"X-User-Id": "bob"})
    assert answer.status_code == 404
    assert answer.json()["error"]["param"] == "completion_id"
    assert running.http().get(f"/v1/turns/{completion_id}?user=bob").status_code == 404
    told = edit(running, completion_id).json()
    assert running.http().get(f"/v1/feedback/{told['id']}?user=bob").status_code == 404
    assert edit(running, completion_id, choice=1).json()["error"]["param"] == "choice"


def test_enough_edits_queue_an_adapter_once(start: Start) -> None:
    running = start(adapter_min_edits=2)
    for number in range(3):
        edit(running, chat(running, f"Task {number}"))
    assert [kind for kind, _ in queued(running)] == ["learn", "learn", "train", "learn"]
    (version,) = running.http().get("/v1/users/ann/adapters").json()["data"]
    assert (version["version"], version["state"], version["active"]) == (1, "queued", False)


def test_a_thumb_is_durable_and_queues_nothing(start: Start) -> None:
    running = start(adapter_min_edits=1)
    completion_id = chat(running)
    accepted = thumb(running, completion_id, "down")
    assert accepted.status_code == 202, accepted.text
    told = accepted.json()
    assert (told["object"], told["type"], told["thumb"], told["cost"]) == ("feedback", "thumbs", "down", None)
    assert (told["status"], told["learned"], told["choice"]) == ("nothing_learned", [], 0)
    assert "KTO" in told["reason"]
    assert queued(running) == []
    assert running.http().get(f"/v1/feedback/{told['id']}", headers=AS_ANN).json() == {**told, "edited_text": None}
    assert running.http().get(f"/v1/feedback/{told['id']}", headers={"X-User-Id": "bob"}).status_code == 404
    for body in ({"choice": 1}, {"completion_id": "chatcmpl-none"}):
        sent = {"type": "thumbs", "completion_id": completion_id, "thumb": "up", **body}
        refused = running.http().post("/v1/feedback", json=sent, headers=AS_ANN)
        assert refused.json()["error"]["param"] == next(iter(body))
        assert refused.status_code == (400 if "choice" in body else 404)


def test_thumbs_and_edits_replace_their_own_kind_alone(running: Running) -> None:
    completion_id = chat(running)
    ids = [
        sent.json()["id"]
        for sent in (
            thumb(running, completion_id),
            edit(running, completion_id),
            thumb(running, completion_id, "down"),
            edit(running, completion_id, edited_text="Hi"),
        )
    ]
    found = [running.http().get(f"/v1/feedback/{id}", headers=AS_ANN).json() for id in ids]
    assert [one["status"] for one in found] == ["replaced", "replaced", "nothing_learned", "pending"]
    assert running.http().delete(f"/v1/feedback/{ids[2]}", headers=AS_ANN).status_code == 200
    left = [running.http().get(f"/v1/feedback/{id}", headers=AS_ANN).status_code for id in ids]
    assert left == [404, 200, 404, 200]


def test_a_thumb_under_a_key_counts_once(running: Running) -> None:
    completion_id = chat(running)
    first, again = (thumb(running, completion_id, **{"Idempotency-Key": "k"}) for _ in range(2))
    assert (first.status_code, first.json()) == (202, again.json())
    for other in (thumb(running, completion_id, "down", **{"Idempotency-Key": "k"}),
                  edit(running, completion_id, {"Idempotency-Key": "k"})):  # fmt: skip
        assert (other.status_code, other.json()["error"]["param"]) == (422, "Idempotency-Key")
    assert len(running.services.database.read_now(feedback.page, ANN)) == 1
