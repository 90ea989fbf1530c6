"""What an app sends: a chat, an edit, a thumb; and the jobs that come of it."""

from typing import Any

from sqlalchemy import select

from store.owner import Owner
from store.tables import jobs
from tests.server.conftest import Running, ask

ANN = Owner("local", "ann")
AS_ANN = {"X-User-Id": "ann"}
EDIT = {"type": "edit", "edited_text": "Hello, dear world!"}


def chat(running: Running, text: str = "Write an email to Ann", user: str = "ann") -> str:
    answer = running.client().chat.completions.create(**ask(text), extra_headers={"X-User-Id": user})
    return str(answer.id)


def edit(running: Running, completion_id: str, headers: dict[str, str] | None = None, **changed: Any) -> Any:
    body = {**EDIT, "completion_id": completion_id, **changed}
    return running.http().post("/v1/feedback", json=body, headers={**AS_ANN, **(headers or {})})


def queued(running: Running) -> list[tuple[str, str]]:
    rows = running.services.database.read_now(lambda c: c.execute(select(jobs.c.kind, jobs.c.subject)).all())
    return [(row.kind, row.subject) for row in rows]


def thumb(running: Running, completion_id: str, way: str = "up", **headers: str) -> Any:
    body = {"type": "thumbs", "completion_id": completion_id, "thumb": way}
    return running.http().post("/v1/feedback", json=body, headers={**AS_ANN, **headers})
