"""A tenant that opted in: a newcomer's first answer keeps to what most others share, and an app sees and ends it."""

from typing import Any

from preference import context_rows
from store.owner import Owner
from tests.preference.test_prior import learn
from tests.server.conftest import Start, ask, until

REQUEST = "Write a letter about the rent"


def test_a_newcomers_answer_keeps_to_what_others_share(start: Start) -> None:
    running = start(prior_tenants=frozenset({"local"}), recall_min_score=0.4)
    database, embedder = running.services.database, running.services.embedder
    for number in range(3):
        owner = Owner("local", f"user {number}")
        id = learn(database, owner, "Be brief", "x")
        vector = embedder.embed([REQUEST])[0]
        database.write_now(
            context_rows.add,
            owner,
            id,
            feedback_id="fb-own",
            text=REQUEST,
            embedder=embedder.name,
            vector=vector,
        )
    http = running.http(headers={"X-User-Id": "new"})

    def applied(**more: Any) -> list[str]:
        body = ask(messages=[{"role": "user", "content": REQUEST}], **more)
        told = http.post("/v1/chat/completions", json=body).json()
        return [one["text"] for one in told["attune"]["preferences"]]

    assert applied(store=False) == [], "what is not stored leaves nothing"
    paused = running.http(headers={"X-User-Id": "bob"})
    assert paused.patch("/v1/users/bob", json={"paused": True}).status_code == 200
    until(lambda: applied() == ["Be brief"])
    body = ask(messages=[{"role": "user", "content": REQUEST}])
    assert paused.post("/v1/chat/completions", json=body).json()["attune"]["preferences"] == []
    assert paused.get("/v1/users/bob/preferences").json()["data"] == []
    (held,) = http.get("/v1/users/new/preferences").json()["data"]
    assert (held["source"], held["standing"]) == ("learned", "tentative")
    assert http.delete(f"/v1/users/new/preferences/{held['id']}").status_code in (200, 204)
