"""The `attune` command: keys, settings, and one sentence when it cannot start."""

import json
import socket
import subprocess
import sys
from contextlib import closing
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import Connection
from typer.testing import CliRunner, Result

from preference import context_rows, preferences
from preference.feedback import feedback
from preference.learning.prompt_file import GENERAL
from preference.recall.embedder import SentenceEmbedder
from preference.recall.kind import KindEmbedder
from server.cli import app
from server.commands.settings_list import settings_table
from server.settings import Settings
from store import users
from store.database import Database
from store.owner import Owner
from tests.server.conftest import ask, serving
from tests.server.fake_engine import FakeEngine


def run(folder: Path, *arguments: str, **settings: str) -> Result:
    given = {"data_dir": str(folder / "data"), "port": "0", "model": "attune-tiny", **settings}
    environment = {f"ATTUNE_{k.upper()}": v for k, v in given.items()}
    return CliRunner().invoke(app, list(arguments), env=environment)


def sentence(ended: Result) -> str:
    """The one line that a refused command leaves on stderr."""
    assert ended.exit_code == 1
    assert isinstance(ended.exception, SystemExit), ended.exception
    assert not ended.stdout
    lines = [line for line in ended.stderr.splitlines() if " WARNING " not in line]
    assert len(lines) == 1, ended.stderr
    return lines[0]


def test_a_key_is_shown_once_listed_without_it_and_revoked(tmp_path: Path) -> None:
    made = json.loads(run(tmp_path, "keys", "create", "acme", "--name", "web", "--json").output)
    assert made["key"].startswith("att-")
    listed = run(tmp_path, "keys", "list", "--json").output
    assert made["key"] not in listed
    (key,) = json.loads(listed)
    assert (key["id"], key["tenant"], key["name"], key["revoked_at"]) == (made["id"], "acme", "web", None)
    assert run(tmp_path, "keys", "revoke", made["id"]).exit_code == 0
    assert json.loads(run(tmp_path, "keys", "list", "--json").output)[0]["revoked_at"] is not None
    again = run(tmp_path, "keys", "revoke", made["id"])
    assert again.exit_code == 1
    assert "no working key" in again.output


def test_a_keys_limits_are_given_listed_and_checked(tmp_path: Path) -> None:
    run(tmp_path, "keys", "create", "acme")
    limits = ["--requests-per-minute", "60", "--in-flight", "2"]
    made = json.loads(run(tmp_path, "keys", "create", "acme", *limits, "--json").output)
    assert (made["requests_per_minute"], made["in_flight"]) == (60, 2)
    listed = json.loads(run(tmp_path, "keys", "list", "--json").output)
    assert [(key["requests_per_minute"], key["in_flight"]) for key in listed] == [(None, None), (60, 2)]
    shown = run(tmp_path, "keys", "list").output
    assert "default" in shown
    assert "60" in shown
    assert "in_flight" in sentence(run(tmp_path, "keys", "create", "acme", "--in-flight", "0"))


def test_the_data_folder_is_private(tmp_path: Path) -> None:
    run(tmp_path, "keys", "create", "acme")
    assert (tmp_path / "data").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"model": "/no/such/model"}, "does not exist"),
        ({"engine_url": "ftp://x"}, "must start with http"),
        ({"host": "0.0.0.0"}, "key"),
        ({"max_loras": "5", "max_cpu_loras": "2"}, "ATTUNE_MAX_CPU_LORAS"),
        ({"max_cpu_loras": "6", "pinned_users": '{"acme": ["ann", "ben"]}'}, "ATTUNE_PINNED_USERS"),
        ({"adapter_store": "foo://bucket"}, "ATTUNE_ADAPTER_STORE"),
        ({"port": "99999"}, "ATTUNE_PORT"),
        ({"database_url": "mysql://x"}, "sqlite"),
        ({"engine_args": "'"}, "ATTUNE_ENGINE_ARGS"),
    ],
)
def test_a_server_that_cannot_start_says_why_in_one_sentence(
    tmp_path: Path, settings: dict[str, str], said: str
) -> None:
    ended = run(tmp_path, "serve", **settings)
    assert said in sentence(ended)


@pytest.mark.parametrize("command", [["keys", "list"], ["models", "list"]])
@pytest.mark.parametrize("setting", [{"port": "many"}, {"cohort_tenants": "acme"}])
def test_a_wrong_setting_is_told_in_one_sentence(tmp_path: Path, command: list[str], setting: dict[str, str]) -> None:
    (name,) = setting
    assert sentence(run(tmp_path, *command, **setting)).startswith(f"ATTUNE_{name.upper()} is wrong: ")


def test_a_port_that_is_taken_is_told_before_anything_is_started(tmp_path: Path) -> None:
    """vllm-project/vllm#7514: the model was loaded first, for nothing, and the reason was not the last line."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = run(tmp_path, "serve", port=port)
        assert f"ATTUNE_PORT={port}" in sentence(ended)
        assert not (tmp_path / "data" / "logs").exists()
    assert "ATTUNE_HOST=no.such.host.invalid" in sentence(run(tmp_path, "serve", host="no.such.host.invalid"))


@pytest.mark.parametrize("command", [["serve"], ["keys", "create", "acme"], ["keys", "list"], ["keys", "revoke", "x"]])
@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("data_dir", "{file}", "ATTUNE_DATA_DIR"),
        ("data_dir", "{file}/below", "ATTUNE_DATA_DIR"),
        ("database_url", "sqlite:///{file}", "not a database"),
        ("database_url", "sqlite:///{file}/x.db", "cannot be used"),
        ("database_url", "sqlite:///{file}/below/x.db", "cannot be used"),
    ],
)
def test_a_store_that_cannot_be_used_is_told_in_one_sentence(
    tmp_path: Path, command: list[str], setting: str, value: str, said: str
) -> None:
    file = tmp_path / "file"
    file.write_text("This is text. " * 100)
    assert said in sentence(run(tmp_path, *command, **{setting: value.format(file=file)}))
    assert file.read_text() == "This is text. " * 100


@pytest.mark.parametrize("command", [["create", "acme"], ["list"], ["revoke", "x"]])
def test_keys_migrate_only_where_that_is_allowed(tmp_path: Path, command: list[str]) -> None:
    said = sentence(run(tmp_path, "keys", *command, migrate="false"))
    assert "ATTUNE_MIGRATE=true" in said
    assert said == sentence(run(tmp_path, "serve", migrate="false"))
    assert not (tmp_path / "data" / "attune.db").exists()
    run(tmp_path, "keys", "create", "acme")
    assert run(tmp_path, "keys", "list", migrate="false").exit_code == 0


@pytest.mark.parametrize(
    ("target", "said"), [("no_such_module:app", "ModuleNotFoundError"), ("json:no_such", "AttributeError")]
)
def test_a_command_that_cannot_be_imported_says_so_and_breaks_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, said: str
) -> None:
    installed = tmp_path / "broken-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text(f"[attune.commands]\nbroken = {target}\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert said in sentence(run(tmp_path, "broken"))
    assert said in sentence(run(tmp_path, "broken", "below", "--option"))
    shown = run(tmp_path, "--help")
    assert shown.exit_code == 0
    assert "broken" in shown.output
    assert "serve" in shown.output
    assert run(tmp_path, "keys", "create", "acme").exit_code == 0


def test_commands_of_other_packages_are_imported_only_when_called() -> None:
    program = (
        "import sys; from server.cli import app; app(['settings'], standalone_mode=False); print('lab' in sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[-1] == "False"


def test_a_worker_apart_needs_an_engine_apart(tmp_path: Path) -> None:
    ended = run(tmp_path, "worker")
    assert ended.exit_code == 1
    assert "ATTUNE_ENGINE_URL" in ended.output


@pytest.mark.parametrize(("only", "status"), [("learn", {"learned", "nothing_learned"}), ("train", {"pending"})])
def test_a_worker_ends_when_nothing_is_due(tmp_path: Path, only: str, status: set[str]) -> None:
    with FakeEngine() as engine:
        at = {"engine_url": engine.url, "learner_prompt": str(GENERAL)}
        settings = Settings(engine_url=engine.url, data_dir=tmp_path / "data", worker_in_process=False)
        with serving(settings, engine) as running:
            http = running.http(headers={"X-User-Id": "ann"})
            answer = http.post("/v1/chat/completions", json=ask()).json()["id"]
            sent = {"type": "edit", "completion_id": answer, "edited_text": "Hello Bo"}
            given = http.post("/v1/feedback", json=sent).json()["id"]
        ended = run(tmp_path, "worker", "--until-idle", "--only", only, **at)
        assert ended.exit_code == 0, ended.output
        with closing(Database(f"sqlite:///{tmp_path}/data/attune.db")) as database:
            assert database.read_now(feedback.get, Owner("local", "ann"), given).status in status


def test_every_setting_is_listed_with_its_words(tmp_path: Path) -> None:
    rows = json.loads(run(tmp_path, "settings", "--json").output)
    assert rows == settings_table()
    assert [r["variable"] for r in rows] == [f"ATTUNE_{name.upper()}" for name in Settings.model_fields]
    assert all(r["description"] for r in rows)


@pytest.mark.parametrize("command", [[], ["serve"], ["worker"], ["keys"], ["keys", "create"], ["settings"]])
def test_help_says_something(tmp_path: Path, command: list[str]) -> None:
    shown = run(tmp_path, *command, "--help")
    assert shown.exit_code == 0
    assert "Usage" in shown.output


def test_the_version_is_that_of_the_package(tmp_path: Path) -> None:
    assert run(tmp_path, "--version").output == f"attune {version('attune')}\n"


def test_another_embedder_is_refused_until_what_is_stored_was_embedded_anew(tmp_path: Path) -> None:
    run(tmp_path, "keys", "create", "acme")
    database, ann = Database(f"sqlite:///{tmp_path / 'data' / 'attune.db'}"), Owner("acme", "ann")

    def rows(c: Connection) -> None:
        users.ensure(c, ann)
        made = preferences.create(c, ann, "Use bullets", "stated")
        context_rows.add(
            c, ann, made.id, feedback_id=None, text="Write an email", embedder="former", vector=np.array([0.6, 0.8])
        )

    database.write_now(rows)
    refused = run(tmp_path, "serve", engine_url="http://127.0.0.1:9", port="0")
    assert refused.exit_code == 1
    assert "'former' has embedded" in refused.stderr
    assert "attune reembed" in refused.stderr
    assert run(tmp_path, "reembed").stdout == "1 contexts were embedded anew.\n"
    embedder = KindEmbedder(SentenceEmbedder(Settings().embedder))
    (context,) = database.read_now(context_rows.by_embedder, ann, embedder.name)
    assert np.allclose(context.vector, embedder.embed(["Write an email"])[0], atol=1e-5)
    assert run(tmp_path, "reembed").stdout == "0 contexts were embedded anew.\n"
    database.close()
