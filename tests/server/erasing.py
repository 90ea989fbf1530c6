"""What a user leaves on a server, and where it is looked for."""

import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import select

from adapters.artifacts.manifest import Manifest
from adapters.lifecycle import versions
from preference.feedback import feedback
from store import jobs, users
from store.owner import Owner
from store.tables import metadata
from store.users import User
from tests.server.conftest import Running, ask
from tests.server.fake_engine import Script

ANN = Owner("local", "ann")
AS_ANN = {"X-User-Id": "ann"}


def publish(running: Running, mode: str = "adapter", owner: Owner = ANN) -> str:
    """A first version, published as training does, and made the active one; the user's opaque id."""

    def made(c: Any) -> User:
        user = users.ensure(c, owner)
        assert versions.queue(c, owner) == 1
        versions.set_state(c, owner, 1, "ready", mode=mode, learned_through=1.0, report={"ok": True})
        return user

    user = running.services.database.write_now(made)
    stage = running.services.directories.stage(user.opaque_id, 1)
    (stage / "adapter_config.json").write_text("{}")
    running.services.directories.publish(stage, user.opaque_id, Manifest(1, [], "", {}, {}, {}, 0.0))
    path = f"/v1/users/{owner.user}/adapters/1/activate"
    assert running.http().post(path).status_code == 200
    return user.opaque_id


def left_of(opaque_id: str, store: Path) -> set[str]:
    """The folders of a store that name a user: after an erasure, the tombstones' alone."""
    return {path.relative_to(store).parts[0] for path in store.rglob(opaque_id)}


def rows(running: Running) -> dict[str, list[dict[str, Any]]]:
    """Every row of every table but the server's own secret."""

    def read(c: Any) -> dict[str, list[dict[str, Any]]]:
        tables = [table for table in metadata.sorted_tables if table.name != "shared_secrets"]
        return {t.name: [dict(row) for row in c.execute(select(t)).mappings()] for t in tables}

    return running.services.database.read_now(read)


def user_of(running: Running, owner: Owner = ANN) -> User:
    found = running.services.database.read_now(users.get, owner)
    assert found is not None
    return found


@dataclass
class Canaries:
    """Strings that are nowhere but where one user's data is."""

    planted: dict[str, str] = field(default_factory=dict)

    def __call__(self, place: str) -> str:
        return self.planted.setdefault(place, f"canary{secrets.token_hex(8)}")

    def found(self, folder: Path) -> set[tuple[str, str]]:
        """Where in the files of ``folder``, or in their names, which one is."""
        files = [path for path in folder.rglob("*") if path.is_file()]
        content = {str(path.relative_to(folder)): path.read_bytes() for path in files}
        return {
            (place, name)
            for place, canary in self.planted.items()
            for name, data in content.items()
            if canary.encode() in data or canary in name
        }


def plant(running: Running, canary: Canaries) -> Owner:
    """A user with something in every place that holds anything; the owner."""
    owner = Owner("local", canary("user"))
    http = running.http(headers={"X-User-Id": owner.user})
    path = f"/v1/users/{owner.user}"
    value = {"preference": canary("value"), "description": canary("description") * 20}
    assert http.put(f"{path}/values", json={"values": [value]}).status_code == 200
    stated = {"text": canary("preference"), "context": f"{canary('context')} email"}
    id = http.post(f"{path}/preferences", json=stated).json()["id"]
    assert http.patch(f"{path}/preferences/{id}", json={"text": canary("correction")}).status_code == 200
    for number in range(4):
        running.engine.enqueue(Script(tokens=[canary("answer"), " ", canary("answer") * (10 ** (number % 4))]))
        messages = [
            {"role": "system", "content": canary("system message")},
            {"role": "user", "content": f"{canary('message')} {'word ' * 10**number} email"},
        ]
        asked, client = ask(messages=messages, user=owner.user), running.client()
        if number % 2:
            completion_id = [chunk.id for chunk in client.chat.completions.create(**asked, stream=True)][-1]
        else:
            completion_id = client.chat.completions.create(**asked).id
        thumb = {"type": "thumbs", "completion_id": completion_id, "thumb": "up"}
        given = http.post(
            "/v1/feedback", json=thumb, headers={"Idempotency-Key": canary("key of a thumb") + str(number)}
        )
        assert given.status_code == 202, given.text
        sent = {"type": "edit", "completion_id": completion_id, "edited_text": canary("edit") * (1 + 50 * number)}
        accepted = http.post("/v1/feedback", json=sent, headers={"Idempotency-Key": canary("key") + str(number)})
        assert accepted.status_code == 202, accepted.text

    def behind(c: Any) -> None:
        last = feedback.page(c, owner)[-1]
        feedback.resolve(c, owner, last.id, "nothing_learned", canary("reason"))
        while (job := jobs.lease(c, ["learn"], 60)) is not None:
            jobs.fail(c, job, canary("error") if job.owner == owner else "none", None)

    running.services.database.write_now(behind)
    opaque, directories = publish(running, owner=owner), running.services.directories
    (directories.path(opaque, 1) / "adapter_model.safetensors").write_text(canary("weights"))
    (directories.stage(opaque, 2) / "train.jsonl").write_text(canary("training"))
    return owner


def edit_of(completion_id: str) -> dict[str, Any]:
    return {"type": "edit", "completion_id": completion_id, "edited_text": "Hello, dear world!"}


def held(running: Running) -> dict[str, bytes]:
    """Every file, without SQLite's shared memory, in which readers leave marks."""
    data = running.services.settings.data_dir
    files = [path for path in data.rglob("*") if path.is_file() and path.suffix != ".db-shm"]
    return {str(path.relative_to(data)): path.read_bytes() for path in files}
