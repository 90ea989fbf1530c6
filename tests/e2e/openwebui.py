"""The real Open WebUI in front of a real server: `make test-openwebui`, in an environment of its own.

Not a part of `make test`: Open WebUI takes gigabytes.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import running_server

pytestmark = pytest.mark.timeout(1200)  # the first of them waits until Open WebUI has started

ROOT = Path(__file__).resolve().parents[2]
PYTHON = Path(os.environ.get("OPENWEBUI_PYTHON", ROOT / ".venv-openwebui" / "bin" / "python"))
HEADERS = json.loads(
    (ROOT / "integrations" / "openwebui" / "README.md").read_text().split("```json")[1].split("```")[0]
)
ACTION = ROOT / "integrations" / "openwebui" / "attune_action.py"
ASKED = (
    "Write an email to Anna, my client.\nNotes:\nabout: the launch\nwhat: the invoice is late\nwhen: Friday at 10\n"
    "where: the head office\nrequest: send the quote"
)
SETTINGS = {
    "WEBUI_SECRET_KEY": "test",
    "OFFLINE_MODE": "true",
    "HF_HUB_OFFLINE": "1",
    "ENABLE_OLLAMA_API": "false",
    "RAG_EMBEDDING_ENGINE": "openai",  # or it would load a model
    "ENABLE_VERSION_UPDATE_CHECK": "false",
    "ANONYMIZED_TELEMETRY": "false",
    "ENABLE_SIGNUP": "true",
    "DEFAULT_USER_ROLE": "user",
}


@dataclass
class Person:
    """Somebody who is signed in to Open WebUI."""

    base: str
    attune: str
    id: str
    token: str
    http: httpx.Client = field(init=False)
    held: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        self.http = httpx.Client(base_url=self.base, headers={"Authorization": f"Bearer {self.token}"}, timeout=300)
        self.held = httpx.Client(base_url=f"{self.attune}/v1", headers={"X-User-Id": self.id}, timeout=60)

    def chat(self) -> tuple[str, str, str]:
        """Ask in a new chat, as the page does, with title, tags and follow-ups; ids of chat and message, the answer."""
        return self.ask(ASKED, None, None)

    def ask(self, text: str, chat_id: str | None, parent: str | None) -> tuple[str, str, str]:
        """Ask in a chat behind the message ``parent``, or in a new one."""
        asked, answered = str(uuid.uuid4()), str(uuid.uuid4())
        message = {"id": asked, "parentId": parent, "childrenIds": [answered], "role": "user", "content": text}
        body = {
            "model": "attune-tiny",
            "messages": [{"role": "user", "content": text}],
            "stream": True,
            "parent_id": parent,
            **({} if chat_id is None else {"chat_id": chat_id}),
            "user_message": {**message, "timestamp": int(time.time()), "models": ["attune-tiny"]},
            "message_ids": [{"model_id": "attune-tiny", "message_id": answered}],
            "session_id": "none",
            "background_tasks": {"title_generation": True, "tags_generation": True, "follow_up_generation": True},
            "params": {"temperature": 0, "max_tokens": 90},
        }
        chat_id = str(done(self.http.post("/api/chat/completions", json=body))["chat_id"])
        deadline = time.monotonic() + 300
        while not (held := self.messages(chat_id)[answered]).get("done"):
            assert time.monotonic() < deadline, held
            time.sleep(0.5)
        return chat_id, answered, held["content"]

    def edit(self, chat_id: str, message_id: str, text: str) -> None:
        """Save another text of an answer, as the page does: in the message and in what it was made of."""
        chat = done(self.http.get(f"/api/v1/chats/{chat_id}"))["chat"]
        message = chat["history"]["messages"][message_id]
        message |= {"content": text, "originalContent": message["content"]}
        for item in message.get("output") or ():
            for part in item.get("content") or ():
                part["text"] = text
        done(self.http.post(f"/api/v1/chats/{chat_id}", json={"chat": chat}))

    def messages(self, chat_id: str) -> dict[str, Any]:
        found: dict[str, Any] = done(self.http.get(f"/api/v1/chats/{chat_id}"))["chat"]["history"]["messages"]
        return found

    def press(self, chat_id: str, message_id: str, reply: str) -> list[dict[str, Any]]:
        """Press the Action's button and reply to what it asks."""
        browser = ROOT / "tests" / "e2e" / "openwebui_browser.py"
        command = [str(PYTHON), str(browser), self.base, self.token, chat_id, message_id, reply]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert ran.returncode == 0, ran.stderr[-3000:]
        events: list[dict[str, Any]] = json.loads(ran.stdout.splitlines()[-1])
        return events

    def preferences(self) -> list[str]:
        answer = self.held.get(f"/users/{self.id}/preferences")
        return [] if answer.status_code == 404 else [one["text"] for one in done(answer)["data"]]


def done(answer: httpx.Response) -> Any:
    assert answer.is_success, answer.text
    return answer.json()


@pytest.fixture(scope="module")
def attune(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if given := os.environ.get("OPENWEBUI_ATTUNE"):  # one that runs already
        yield given
        return
    with running_server(tmp_path_factory.mktemp("attune"), {}) as base:
        yield base


@pytest.fixture(scope="module")
def openwebui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("openwebui")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, **SETTINGS, "DATA_DIR": str(folder)}
    command = [str(PYTHON.with_name("open-webui")), "serve", "--host", "127.0.0.1", "--port", str(port)]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT, cwd=folder)
    base = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 900
        while True:
            assert process.poll() is None, (folder / "log").read_text()[-3000:]
            assert time.monotonic() < deadline, "it did not start"
            try:
                if httpx.get(f"{base}/health", timeout=5).status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(1)
        yield base
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        finally:
            process.kill()


@pytest.fixture(scope="module")
def people(openwebui: str, attune: str) -> tuple[Person, Person]:
    """The admin, and another user."""

    def account(name: str) -> dict[str, str]:
        return {"name": name, "email": f"{name.lower()}@example.com", "password": "Secret-12345"}

    def person(made: Any) -> Person:
        return Person(openwebui, attune, made["id"], made["token"])

    # Whoever signs up first is the admin, and after them nobody may.
    ann = person(done(httpx.post(f"{openwebui}/api/v1/auths/signup", json=account("Ann"), timeout=60)))
    connection = {
        "ENABLE_OPENAI_API": True,
        "OPENAI_API_BASE_URLS": [f"{attune}/v1"],
        "OPENAI_API_KEYS": ["none"],
        "OPENAI_API_CONFIGS": {"0": {"enable": True, "connection_type": "external", "headers": HEADERS}},
    }
    done(ann.http.post("/openai/config/update", json=connection))
    content = {
        "id": "attune",
        "name": "What Attune learned",
        "content": ACTION.read_text(),
        "meta": {"description": ""},
    }
    done(ann.http.post("/api/v1/functions/create", json=content))
    done(ann.http.post("/api/v1/functions/id/attune/toggle"))
    done(ann.http.post("/api/v1/functions/id/attune/toggle/global"))
    done(ann.http.post("/api/v1/functions/id/attune/valves/update", json={"url": attune, "api_key": ""}))
    model: dict[str, Any] = {"id": "attune-tiny", "base_model_id": None, "name": "attune-tiny"}
    model |= {"meta": {}, "params": {}}
    everybody = [{"principal_type": "user", "principal_id": "*", "permission": "read"}]
    done(ann.http.post("/api/v1/models/create", json={**model, "access_grants": everybody}))
    assert [one["id"] for one in done(ann.http.get("/api/models"))["data"]] == ["attune-tiny"]
    return ann, person(done(ann.http.post("/api/v1/auths/add", json={**account("Bob"), "role": "user"})))


def test_a_chat_is_its_users_and_titles_are_nobodys(people: tuple[Person, Person]) -> None:
    ann, _ = people
    chat_id, message_id, answer = ann.chat()
    assert answer
    deadline = time.monotonic() + 120
    while (title := done(ann.http.get(f"/api/v1/chats/{chat_id}"))["title"]) == "New Chat":  # the task has run
        assert time.monotonic() < deadline, title
        time.sleep(0.5)
    (turn,) = done(ann.held.get("/turns"))["data"]
    told = done(ann.held.get(f"/turns/{turn['id']}"))
    assert [message["content"] for message in told["request"]] == [ASKED]
    assert told["answers"] == [answer]
    sent = {"type": "thumbs", "completion_id": message_id, "thumb": "up"}
    assert done(ann.held.post("/feedback", json=sent))["completion_id"] == turn["id"]


def test_an_answer_that_is_edited_in_the_page_is_learned_from(people: tuple[Person, Person]) -> None:
    _, bob = people
    chat_id, message_id, answer = bob.chat()
    text = f"{answer.strip()}\nBob from the workshop"
    bob.edit(chat_id, message_id, text)
    bob.ask("And now one to Bea about the rent.", chat_id, message_id)
    deadline = time.monotonic() + 120
    while not (found := done(bob.held.get("/feedback", params={"source": "history", "type": "edit"}))["data"]):
        assert time.monotonic() < deadline, done(bob.held.get("/turns"))
        time.sleep(0.5)
    assert done(bob.held.get(f"/feedback/{found[0]['id']}"))["edited_text"] == text


def test_the_action_shows_and_corrects_what_was_learned(people: tuple[Person, Person]) -> None:
    ann, bob = people
    chat_id, message_id, _ = ann.chat()
    (asked, told) = ann.press(chat_id, message_id, "Sign with Best wishes")
    assert "Nothing yet" in asked["data"]["message"]
    assert (told["data"]["type"], told["data"]["content"]) == ("success", "Kept: Sign with Best wishes")
    (asked, told) = ann.press(chat_id, message_id, "1: Sign off with Best wishes.")
    assert asked["data"]["message"] == "1. Sign with Best wishes"
    assert ann.preferences() == ["Sign off with Best wishes."]
    (_, told) = ann.press(chat_id, message_id, "forget 2")
    assert (told["data"]["type"], told["data"]["content"]) == ("error", "There is no number 2.")
    of_bob, answer_to_bob, _ = bob.chat()
    asked, *_ = bob.press(of_bob, answer_to_bob, "")
    assert "Best wishes" not in asked["data"]["message"]
    assert not [text for text in bob.preferences() if "Best wishes" in text]
    _, _, personal = ann.chat()
    newest = done(ann.held.get("/turns"))["data"][0]["id"]
    assert personal.rstrip().endswith("Best wishes"), json.dumps(done(ann.held.get(f"/turns/{newest}")))
    (_, told) = ann.press(chat_id, message_id, "forget 1")
    assert told["data"]["content"] == "Forgotten: Sign off with Best wishes."
    assert ann.preferences() == []


def test_ratings_are_imported(people: tuple[Person, Person], tmp_path: Path) -> None:
    ann, bob = people
    rated = []
    for person, rating, number in ((ann, -1, 2), (bob, 1, 9)):
        chat_id, message_id, _ = person.chat()
        chat = done(person.http.get(f"/api/v1/chats/{chat_id}"))
        body = {
            "type": "rating",
            "data": {"rating": rating, "model_id": "attune-tiny", "comment": "Too long", "details": {"rating": number}},
            "meta": {"chat_id": chat_id, "message_id": message_id, "message_index": 1, "arena": False},
            "snapshot": {"chat": chat},
        }
        done(person.http.post("/api/v1/evaluations/feedback", json=body))
        rated.append(done(person.held.get("/turns"))["data"][0]["id"])
    file = tmp_path / "feedback.json"
    file.write_text(json.dumps(done(ann.http.get("/api/v1/evaluations/feedbacks/all/export"))))
    command = [sys.executable, "-m", "server", "import", str(file), "--format", "openwebui", "--url", ann.attune]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "2 thumbs, 2 ratings, 2 comments" in ran.stdout
    for person, id, thumb, number in ((ann, rated[0], "down", 2), (bob, rated[1], "up", 9)):
        held = [one for one in done(person.held.get("/feedback"))["data"] if one["completion_id"] == id]
        assert {one["type"] for one in held} >= {"thumbs", "rating", "comment"}
        assert next(one["thumb"] for one in held if one["type"] == "thumbs") == thumb
        assert next(one["rating"] for one in held if one["type"] == "rating") == number
