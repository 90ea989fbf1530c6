"""The `attune` command: keys, settings, and one sentence when it cannot start."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from server.cli import app, settings_table
from server.settings import Settings


def run(folder: Path, *arguments: str, **settings: str) -> Result:
    environment = {"ATTUNE_DATA_DIR": str(folder / "data"), **{f"ATTUNE_{k.upper()}": v for k, v in settings.items()}}
    return CliRunner().invoke(app, list(arguments), env=environment)


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
        ({"port": "99999"}, "ATTUNE_PORT"),
        ({"database_url": "mysql://x"}, "sqlite"),
    ],
)
def test_a_server_that_cannot_start_says_why_in_one_sentence(
    tmp_path: Path, settings: dict[str, str], said: str
) -> None:
    ended = run(tmp_path, "serve", **settings)
    assert ended.exit_code == 1
    assert said in ended.output
    assert "Traceback" not in ended.output


def test_a_worker_apart_needs_an_engine_apart(tmp_path: Path) -> None:
    ended = run(tmp_path, "worker")
    assert ended.exit_code == 1
    assert "ATTUNE_ENGINE_URL" in ended.output


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
