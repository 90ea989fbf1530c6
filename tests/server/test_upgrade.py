"""Servers of the version before and of this one, beside each other on one PostgreSQL, while it is migrated under load.

The version before is a commit of this repository; it runs in this environment.
"""

import io
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy
from sqlalchemy import func, select

from store.database import Database
from store.tables import contexts, feedback, turns
from tests.conftest import _url
from tests.server.conftest import ask, until
from tests.server.fake_engine import FakeEngine

ROOT = Path(__file__).resolve().parents[2]
BEFORE = "d5fcf3f2d34ff4f867eaac3855cc2f1557059c71"
"""The last commit of 0.1, of which there is no tag."""
USERS = 12


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The code of the version before."""
    packed = subprocess.run(["git", "archive", BEFORE], cwd=ROOT, capture_output=True)
    if packed.returncode:
        pytest.skip(f"the history has no commit {BEFORE[:7]}: it takes a whole clone")
    folder = tmp_path_factory.mktemp("before")
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder


@dataclass
class Load:
    """Clients that ask and edit, each at one of the servers in rotation; nobody tries again."""

    rotation: list[str] = field(default_factory=list)
    asked: dict[str, int] = field(default_factory=dict)
    turns: list[str] = field(default_factory=list)
    edits: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    ended: bool = False

    def client(self, number: int) -> None:
        with httpx.Client(timeout=60) as http:
            while not self.ended:
                if not self.rotation:
                    time.sleep(0.05)
                    continue
                url = self.rotation[number % len(self.rotation)]
                number += 1
                user = {"X-User-Id": f"user {number % USERS}"}
                try:
                    answer = http.post(f"{url}/v1/chat/completions", json=ask(f"Write to {number}"), headers=user)
                    answer.raise_for_status()
                    self.turns.append(answer.json()["id"])
                    edit = {
                        "completion_id": self.turns[-1],
                        "edited_text": f"Hello world, {number}! Bye",
                        "type": "edit",
                    }
                    given = http.post(f"{url}/v1/feedback", json=edit, headers=user)
                    given.raise_for_status()
                    self.edits.append(given.json()["id"])
                    self.asked[url] = self.asked.get(url, 0) + 1
                except (httpx.HTTPError, KeyError) as error:
                    told = error.response.text if isinstance(error, httpx.HTTPStatusError) else ""
                    self.failed.append(f"{url}: {error!r} {told}")
                time.sleep(0.05)


@contextmanager
def under_load(load: Load, clients: int = 3) -> Iterator[None]:
    threads = [threading.Thread(target=load.client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        load.ended = True
        for thread in threads:
            thread.join()


@contextmanager
def served(code: Path, folder: Path, port: int, **settings: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A server of ``code``, once it is ready; it is stopped as a scheduler does."""
    own = {f"ATTUNE_{name.upper()}": value for name, value in settings.items()}
    environment = {
        **os.environ,
        **own,
        "PYTHONPATH": str(code),
        "ATTUNE_PORT": str(port),
        "ATTUNE_DATA_DIR": str(folder),
    }
    with (folder.parent / f"{port}.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "server", "serve"], cwd=code, env=environment, stdout=log, stderr=log
        )
    url = f"http://127.0.0.1:{port}"

    def is_ready() -> bool:
        assert process.poll() is None, (folder.parent / f"{port}.log").read_text()[-2000:]
        try:
            return httpx.get(f"{url}/ready").status_code == 200
        except httpx.HTTPError:
            return False

    try:
        until(is_ready, 200)
        yield url, process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.timeout(900)
def test_two_versions_beside_each_other_fail_nothing_and_lose_nothing(
    before: Path, postgresql: sqlalchemy.Engine, tmp_path: Path
) -> None:
    with postgresql.connect() as admin:
        admin.exec_driver_sql("CREATE DATABASE upgraded")
    url, data = _url(postgresql, "upgraded"), tmp_path / "data"
    data.mkdir(mode=0o700)
    load = Load()
    with FakeEngine() as engine, ExitStack() as old:
        shared = {"database_url": url, "engine_url": engine.url, "drain_grace_seconds": "0.5"}
        was, old_process = old.enter_context(served(before, data, free_port(), **shared))
        with under_load(load):
            load.rotation = [was]
            until(lambda: len(load.edits) > 20, 120)
            with served(ROOT, data, free_port(), **shared, reembed="true") as (now, _):  # migrates on its way
                load.rotation = [was, now]
                until(lambda: load.asked.get(now, 0) > 20, 120)
                beside = load.asked[was]
                until(lambda: load.asked[was] > beside + 10, 120)
                load.rotation = [now]  # as a load balancer does, before it is stopped
                old.close()
                assert old_process.returncode == 0
                until(lambda: load.asked[now] > 50, 120)
                load.ended = True
                check(url, load, now)
    assert load.failed == []


def check(url: str, load: Load, now: str) -> None:
    """All that was acknowledged is there, once, and is learned from, whichever version took it."""
    from preference.recall.embedder import SentenceEmbedder
    from preference.recall.kind import KindEmbedder

    with closing(Database(url)) as database:

        def counted(c: sqlalchemy.Connection) -> tuple[list[str], dict[str, str]]:
            stored = c.execute(select(turns.c.completion_id)).scalars().all()
            return list(stored), dict(c.execute(select(feedback.c.id, feedback.c.status)).tuples().all())

        def settled() -> bool:
            return "pending" not in database.read_now(counted)[1].values()

        until(settled, 200)
        stored, statuses = database.read_now(counted)
        assert len(stored) == len(set(stored))
        assert set(load.turns) <= set(stored)
        assert set(load.edits) <= statuses.keys()
        assert "failed" not in statuses.values()
        name = KindEmbedder(SentenceEmbedder("bundled")).name

        def strange(c: sqlalchemy.Connection) -> int:
            return int(c.execute(select(func.count()).where(contexts.c.embedder != name)).scalar_one())

        until(lambda: database.read_now(strange) == 0, 150)  # what the version before learned can be recalled
    for number in range(USERS):
        told: dict[str, Any] = httpx.get(f"{now}/v1/users/user%20{number}/preferences").json()
        assert isinstance(told["data"], list)
