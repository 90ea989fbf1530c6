"""What a user states over HTTP: values and preferences, bounded, and nobody else's."""

from tests.server.conftest import Running, Start, ask


def test_values(running: Running) -> None:
    http, value = running.http(), {"preference": "Be brief", "subdimension": "length"}
    put = http.put("/v1/users/ann/values", json={"values": [value]})
    full = {"dimension": "style", "description": "", **value}
    assert put.json() == {"values": [full]} == http.get("/v1/users/ann/values").json()
    assert http.put("/v1/users/ann/values", json={"values": []}).json() == {"values": []}


def test_a_standing_value_may_have_a_strength_or_be_masked(running: Running) -> None:
    values = [{"preference": "Be brief", "strength": 0.3}, {"preference": "Be formal", "masked": True}]
    put = running.http().put("/v1/users/ann/values", json={"values": values})
    assert put.status_code == 200, put.text
    assert [one.get("strength") for one in running.http().get("/v1/users/ann/values").json()["values"]] == [0.3, None]
    running.http(headers={"X-User-Id": "ann"}).post("/v1/chat/completions", json=ask())
    prompt = str(running.engine.requests[-1]["messages"])
    assert "Be brief. This matters a little." in prompt
    assert "formal" not in prompt


def test_the_life_of_a_stated_preference(running: Running) -> None:
    http, path = running.http(), "/v1/users/ann/preferences"
    made = http.post(path, json={"text": "Use bullets"}).json()
    assert (made["object"], made["source"], made["status"], made["locked"]) == ("preference", "stated", "active", False)
    keyed = http.post(path, json={"text": "Be formal", "context": "Write a letter to the bank"}).json()
    assert [p["id"] for p in http.get(path).json()["data"]] == [made["id"], keyed["id"]]
    contexts = http.get(f"{path}/{keyed['id']}").json()["contexts"]
    assert [c["text"] for c in contexts] == ["Write a letter to the bank"]
    search = http.post(f"{path}/search", json={"context": "Write a letter to the bank now"}).json()["data"]
    assert [p["text"] for p in search] == ["Use bullets", "Be formal"]
    changed = http.patch(f"{path}/{made['id']}", json={"text": "Use numbers", "locked": True}).json()
    assert (changed["text"], changed["locked"]) == ("Use numbers", True)
    assert http.patch(f"{path}/{made['id']}", json={}).json()["error"]["param"] == "text"
    assert http.delete(f"{path}/{made['id']}").json() == {
        "id": made["id"],
        "object": "preference.deleted",
        "deleted": True,
    }
    assert http.get(f"{path}/{made['id']}").status_code == 404
    assert [p["text"] for p in http.post(f"{path}/search", json={"context": "x"}).json()["data"]] == []


def test_a_preference_of_somebody_else(running: Running) -> None:
    http = running.http()
    id = http.post("/v1/users/ann/preferences", json={"text": "Use bullets"}).json()["id"]
    http.post("/v1/users/bob/preferences", json={"text": "Be brief"})
    for call in (
        http.get(f"/v1/users/bob/preferences/{id}"),
        http.patch(f"/v1/users/bob/preferences/{id}", json={"text": "x"}),
        http.delete(f"/v1/users/bob/preferences/{id}"),
    ):
        assert call.status_code == 404
        assert call.json()["error"]["param"] == "id"
    assert http.get(f"/v1/users/ann/preferences/{id}").json()["text"] == "Use bullets"


def test_preferences_are_bounded(start: Start) -> None:
    http = start(max_preferences=1).http()
    assert http.post("/v1/users/ann/preferences", json={"text": "a"}).status_code == 201
    assert http.post("/v1/users/ann/preferences", json={"text": "b"}).status_code == 409
