"""`attune doctor`: each part of a deployment is looked at by itself, and what is wrong is said with what to do."""

import json
import socket
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from server.commands.doctor.examine import examine
from server.commands.doctor.finding import Finding
from server.settings import Settings
from store import keys
from store.database import Database
from tests.server.commands.test_cli import run
from tests.server.conftest import Running, Start
from tests.server.dialects.test_chat import publish
from tests.server.fake_engine import MODEL, FakeEngine


async def looked(tmp_path: Path, **settings: Any) -> dict[str, list[Finding]]:
    found: dict[str, list[Finding]] = {}
    for one in await examine(Settings(**{"data_dir": tmp_path / "data", "port": 0, **settings})):
        found.setdefault(one.part, []).append(one)
    return found


def migrated(tmp_path: Path) -> Database:
    (tmp_path / "data").mkdir(mode=0o700, exist_ok=True)
    database = Database(f"sqlite:///{tmp_path / 'data' / 'attune.db'}")
    database.migrate()
    return database


def states(found: dict[str, list[Finding]]) -> dict[str, list[str]]:
    return {part: [one.state for one in each] for part, each in found.items()}


async def test_nothing_is_wrong_before_the_first_start_and_nothing_is_made(tmp_path: Path) -> None:
    found = await looked(tmp_path)
    assert {state for each in states(found).values() for state in each} == {"ok"}
    assert sorted(tmp_path.rglob("*")) == []  # noqa: ASYNC240


async def test_a_deployment_that_is_well(tmp_path: Path) -> None:
    migrated(tmp_path).close()
    store = f"file://{tmp_path / 'store'}"
    with FakeEngine() as engine:
        found = await looked(tmp_path, engine_url=engine.url, adapter_store=store)
    part = f"engine {engine.url}"
    assert {state for each in states(found).values() for state in each} == {"ok"}
    assert [one.said for one in found[part]] == [
        f"It serves {MODEL}.",
        "It loads adapters while it runs.",
        "It tokenizes: what is learned is judged by likelihood.",
    ]
    assert f"clock of {part}" in found
    assert {"settings", "disk", "database", "keys", "embedder", "adapter store"} <= set(found)
    assert list((tmp_path / "store").iterdir()) == [], "what was written to see whether it can be is removed"


async def test_settings_that_do_not_go_together(tmp_path: Path) -> None:
    found = await looked(tmp_path, learner_url="ftp://x", learner_model="m")
    assert found["settings"][0].state == "error"
    assert "ATTUNE_LEARNER_URL" in found["settings"][0].said


async def test_a_database_to_be_migrated_is_left_as_it_is(tmp_path: Path) -> None:
    migrated(tmp_path).close()
    path = tmp_path / "data" / "attune.db"
    with closing(sqlite3.connect(path)) as c:  # an older version's
        c.execute("UPDATE alembic_version SET version_num = '0001'")
        c.commit()
    assert states(await looked(tmp_path))["database"] == ["ok"]
    refused = await looked(tmp_path, migrate=False)
    assert refused["database"][0].state == "error"
    assert "ATTUNE_MIGRATE" in refused["database"][0].advice


async def test_a_database_that_is_away(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        (found,) = (await looked(tmp_path, database_url=f"postgresql+psycopg://a:b@127.0.0.1:{port}/x"))["database"]
    assert found.state == "error"
    assert "ATTUNE_DATABASE_URL" in found.advice


async def test_no_key_behind_an_open_address_and_one_that_was_made(tmp_path: Path) -> None:
    database = migrated(tmp_path)
    (found,) = (await looked(tmp_path, host="0.0.0.0"))["keys"]
    assert found.state == "error"
    assert found.advice == "`attune keys create TENANT`"
    database.write_now(keys.create, "acme", "web")
    database.close()
    assert states(await looked(tmp_path, host="0.0.0.0"))["keys"] == ["ok"]


async def test_engines_that_are_away_serve_another_model_or_lack_what_is_needed(tmp_path: Path) -> None:
    with FakeEngine() as engine, socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        away = f"http://127.0.0.1:{taken.getsockname()[1]}"
        found = await looked(tmp_path, engine_url=f"{engine.url},{away}", served_model_name="another")
        (other,) = found[f"engine {engine.url}"]
        assert (other.state, other.said) == ("error", f"It serves {MODEL}, not another.")
        assert [one.state for one in found[f"engine {away}"]] == ["error"]
        assert found["adapter store"][0].state == "warning"
        engine.tokenizes = False
        lacking = await looked(tmp_path, engine_url=engine.url)
        assert states(lacking)[f"engine {engine.url}"] == ["ok", "ok", "warning"]


async def test_a_store_that_refuses(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    (found,) = (await looked(tmp_path, adapter_store=f"file://{tmp_path / 'file'}"))["adapter store"]
    assert found.state == "error"
    (unknown,) = (await looked(tmp_path, adapter_store="nodriver://x"))["adapter store"]
    assert unknown.state == "error"


async def test_a_learner_without_the_model_and_one_that_is_away(tmp_path: Path) -> None:
    with FakeEngine() as engine:
        good = await looked(tmp_path, learner_url=f"{engine.url}/v1", learner_model=MODEL)
        other = await looked(tmp_path, learner_url=engine.url, learner_model="gpt")
    away = await looked(tmp_path, learner_url=engine.url, learner_model=MODEL)
    assert [states(found)["learner"] for found in (good, other, away)] == [["ok"], ["error"], ["warning"]]


async def test_a_server_that_runs_and_a_stranger_at_its_port(running: Running, tmp_path: Path) -> None:
    port = int(running.url.rsplit(":", 1)[1])
    (found,) = (await looked(tmp_path, port=port))["server"]
    assert found.state in ("ok", "warning")
    assert "engine ready, store ready" in found.said
    stranger = int(running.engine.url.rsplit(":", 1)[1])
    assert states(await looked(tmp_path, port=stranger))["server"] == ["error"]


def test_the_command_prints_a_table_and_writes_json(tmp_path: Path) -> None:
    file = tmp_path / "out" / "findings.json"
    ended = run(tmp_path, "doctor", "--json", str(file))
    assert ended.exit_code == 0
    told = json.loads(file.read_text())
    assert {"part", "state", "said", "advice"} == set(told[0])
    assert all(one["part"] in ended.output for one in told)


def test_it_exits_with_1_where_something_is_wrong(tmp_path: Path) -> None:
    ended = run(tmp_path, "doctor", max_loras="5", max_cpu_loras="2")
    assert ended.exit_code == 1
    assert "ATTUNE_MAX_CPU_LORAS" in ended.output


async def test_a_store_without_what_the_database_says_is_in_it(start: Start, tmp_path: Path) -> None:
    right, wrong = (f"file://{tmp_path / name}" for name in ("right", "wrong"))
    running = start(adapter_store=right)
    publish(running, 1, "adapter", tmp_path)
    (found,) = (await looked(tmp_path, adapter_store=right))["adapters"]
    assert (found.state, found.said.startswith("1 of 1 versions were looked for")) == ("ok", True)
    (found,) = (await looked(tmp_path, adapter_store=wrong))["adapters"]
    assert (found.state, found.said[:6]) == ("error", "1 of 1")
    (tmp_path / "broken").write_text("in the way")
    (found,) = (await looked(tmp_path, adapter_store=f"file://{tmp_path / 'broken'}"))["adapters"]
    assert found.state == "error"


async def test_shared_limits_and_another_secret_than_the_other_servers(start: Start, tmp_path: Path) -> None:
    start()
    found = await looked(tmp_path, shared_limits=True)
    assert states(found)["limits"] == ["ok"]
    assert "secret" not in found
    (tmp_path / "data" / "secret").write_bytes(b"another")
    (told,) = (await looked(tmp_path))["secret"]
    assert (told.state, "theirs is used" in told.said) == ("warning", True)
