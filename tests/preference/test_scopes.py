"""Every query says whose rows it may touch: none is without its scope, and no scope can go without being missed."""

import ast
import json
import subprocess
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from sqlalchemy import Column, Delete, Engine, FromClause, Select, Update, delete, event, exists, select, true, update
from sqlalchemy.sql import operators, visitors
from sqlalchemy.sql.elements import BinaryExpression
from sqlalchemy.sql.schema import Table
from sqlalchemy.sql.selectable import Alias, Join

from store import tables
from store.database import Database
from store.owner import Owner
from store.rows import scope
from tests.preference import mutants
from tests.preference.script import play, prepare

OF_EVERYBODY = {
    "store.users.named": "finds the owner of an adapter by its opaque id",
    "store.users.page": "goes through all owners, for upkeep",
    "store.users.of_tenant": "the names of a tenant's users, for whoever holds its key",
    "store.tokens.find": "the owner of a token, by its hash",
    "store.tokens.prune": "upkeep of all owners' tokens",
    "store.idempotency.prune": "upkeep of all owners' spent keys",
    "store.usage.prune": "upkeep of all owners' days",
    "store.jobs.is_due": "whether anybody has work, and nothing of whose",
    "store.jobs._take": "the next job, which comes with its owner",
    "store.jobs.prune": "upkeep of all owners' jobs",
    "store.job_list.backlog": "figures alone",
    "store.job_list.of_tenant": "a tenant's jobs, which come with their users, for whoever holds its key",
    "store.job_list.failures": "what failed for anybody, which comes with its owner, for operators",
    "preference.curve._rounds": "a tenant's edits as figures alone",
    "store.bytes_held.held": "figures alone, of a tenant",
    "preference.recall.embedding.stranger": "whether an embedder has embedded anything, and nothing of whose",
    "preference.recall.embedding.count": "figures alone",
    "preference.recall.embedding.some": "goes through all contexts, which come with their owners",
    "adapters.lifecycle.versions.census": "figures alone",
    "adapters.lifecycle.versions.everybodys_ready": "names of files alone, for a backup of them all",
    "preference.feedback.outcomes.of_tenant": "a tenant's outcomes as figures, and nothing of whose",
    "preference.prior.of_tenant": "what a tenant's users learned, where it opted in; of many alone it is used",
    "preference.prior.holders": "a number of a tenant's users alone",
    "adapters.lifecycle.cohorts.of_tenant": "a tenant's cohorts, by their ids, and nobody who is in them",
    "adapters.lifecycle.cohorts._hold": "the rows of a tenant's cohort, to lock them",
    "adapters.lifecycle.cohorts.dissolve": "ends a tenant's cohort for all who are in it",
}
EQUIVALENT: dict[str, str] = {}
"""Predicates that can go unnoticed, as ``module.function: text``, and why."""


@pytest.mark.timeout(1800)
def test_no_scope_can_go_without_being_missed() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "tests.preference.mutants"], cwd=mutants.ROOT, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    outcomes = [json.loads(line) for line in ran.stdout.splitlines()]
    assert len(outcomes) == len(mutants.predicates())
    names = {f"{o['predicate']['module']}.{o['predicate']['function']}: {o['predicate']['text']}": o for o in outcomes}
    assert not [name for name, outcome in names.items() if outcome["broken"]]
    survived = {name for name, outcome in names.items() if outcome["noticed"] is None}
    assert survived == set(EQUIVALENT), "add a step to script.py that would notice"


def test_every_predicate_is_found() -> None:
    """The search itself: what it must find in a module, and what it must not."""
    found = {(one.module, one.function, one.text) for one in mutants.predicates()}
    assert ("store.rows", "scope", 'table.c.tenant_id == own["tenant_id"]') in found
    assert ("store.rows", "scope", 'table.c.user_id == own["user_id"]') in found
    assert ("store.turns", "page", "scope(turns, owner)") in found
    assert ("store.keys", "find", "api_keys.c.sha256 == digest") in found
    assert ("store.jobs", "_free", "other.c.tenant_id == jobs.c.tenant_id") in found
    assert ("store.jobs", "_held", "scope(jobs, job.owner)") in found
    assert len(found) > 40


class Recorder:
    """What ran while it was entered: functions of ours, and statements; those not held to one owner apart."""

    def __init__(self) -> None:
        self.called: set[str] = set()
        self.executed: set[int] = set()
        self.unscoped: dict[str, str] = {}

    def __enter__(self) -> "Recorder":
        event.listen(Engine, "before_execute", self._executing)
        sys.setprofile(self._calling)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)
        event.remove(Engine, "before_execute", self._executing)

    def _calling(self, frame: FrameType, what: str, _: Any) -> None:
        if what == "call" and (name := _ours(frame)) is not None:
            self.called.add(name)

    def _executing(self, _: Any, statement: Any, *__: Any) -> None:
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and (name := _ours(frame)) is None:
            frame = frame.f_back
        if frame is not None and name is not None:
            self.executed.add(id(statement))
            if loose := unscoped(statement):
                self.unscoped[name] = f"{', '.join(sorted(loose))} in {statement}"


def _ours(frame: FrameType) -> str | None:
    module = frame.f_globals.get("__name__", "")
    known = module.split(".")[0] in mutants.PACKAGES and module not in ("store.database", "store.connections")
    return f"{module}.{frame.f_code.co_qualname}" if known else None


def unscoped(statement: Any) -> set[str]:
    """The tables of a statement whose rows are not held to one owner, directly or through another table of it."""
    loose: set[str] = set()
    for column in ("tenant_id", "user_id"):
        tables: set[FromClause] = set()
        held: set[FromClause] = set()
        alike: list[tuple[FromClause, FromClause]] = []
        for node in visitors.iterate(statement):
            if isinstance(node, Select):
                tables.update(table for top in node.get_final_froms() for table in _tables(top))
            elif isinstance(node, Update | Delete):
                tables.update(_tables(node.table))
            elif isinstance(node, BinaryExpression) and node.operator is operators.eq:
                sides = [side for side in (node.left, node.right) if isinstance(side, Column) and side.name == column]
                if len(sides) == 2:
                    alike.append((sides[0].table, sides[1].table))
                held.update(side.table for side in sides if len(sides) == 1)
        for _ in alike:
            held.update(table for pair in alike if held & set(pair) for table in pair)
        loose.update(
            str(getattr(table, "name", ""))
            for table in tables - held
            if {"tenant_id", "user_id"} <= set(table.c.keys())
        )
    return loose


def _tables(top: Any) -> list[FromClause]:
    if isinstance(top, Join):
        return [*_tables(top.left), *_tables(top.right)]
    return [top] if isinstance(top, Table) or (isinstance(top, Alias) and isinstance(top.element, Table)) else []


OTHER = tables.jobs.alias("other")
ANN = scope(tables.turns, Owner("t", "ann"))
OF_SAME_USER = (OTHER.c.tenant_id == tables.jobs.c.tenant_id) & (OTHER.c.user_id == tables.jobs.c.user_id)


@pytest.mark.parametrize(
    ("statement", "loose"),
    [
        (select(tables.turns), {"turns"}),
        (select(tables.turns.c.completion_id), {"turns"}),
        (select(tables.turns).where(tables.turns.c.tenant_id == "t"), {"turns"}),
        (select(tables.turns).where(tables.turns.c.user_id == "u"), {"turns"}),
        (select(tables.turns).where(ANN), set()),
        (update(tables.turns).values(partial=True), {"turns"}),
        (update(tables.turns).where(ANN).values(partial=True), set()),
        (delete(tables.turns), {"turns"}),
        (delete(tables.turns).where(ANN), set()),
        (select(tables.turns).join(tables.feedback, true()).where(ANN), {"feedback"}),
        (select(tables.turns).where(ANN, exists().where(tables.feedback.c.id == "fb-1")), {"feedback"}),
        (select(tables.jobs).where(exists().where(OF_SAME_USER)), {"jobs", "other"}),
        (select(tables.jobs).where(scope(tables.jobs, Owner("t", "u")), exists().where(OF_SAME_USER)), set()),
        (select(select(tables.turns).subquery()), {"turns"}),
        (select(tables.erasures), set()),
    ],
)
def test_a_query_without_its_scope_is_seen(statement: Any, loose: set[str]) -> None:
    assert unscoped(statement) == loose


def writes_text(source: str) -> bool:
    """Whether a module has SQL in it that is not built of tables, or might: then nothing here sees it."""
    tree = ast.parse(source)
    whole = [name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names]
    of_sqlalchemy = set(mutants.imported(tree, "sqlalchemy").values())
    return bool(of_sqlalchemy & {"text", "literal_column"}) or "sqlalchemy" in whole or "exec_driver_sql" in source


def test_queries_are_never_text() -> None:
    """What is not built of tables cannot be checked here."""
    written = {name for name, source in mutants.modules() if writes_text(source)}
    assert written == {"store.database", "store.connections"}


@pytest.mark.parametrize(
    "source",
    [
        "from sqlalchemy import text",
        "from sqlalchemy import (\n    select,\n    text as written,\n)",
        "from sqlalchemy.sql import text",
        "import sqlalchemy",
        "c.exec_driver_sql('DELETE FROM users')",
    ],
)
def test_a_query_of_text_is_seen(source: str) -> None:
    assert writes_text(source)


@pytest.mark.parametrize(
    "source",
    [
        "from sqlalchemy import delete as gone\ndef f(): return gone(users)",
        "from sqlalchemy.sql import select\ndef f(): return select(users)",
        "from store.tables import users as all_users\ndef f(): return all_users.delete()",
    ],
)
def test_a_query_is_seen_however_it_is_built(source: str) -> None:
    assert mutants.queries_of(source) == {"f"}


def test_no_query_is_without_its_scope(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/attune.db")
    database.migrate()
    players = prepare(database, [Owner("t", "u")])
    with Recorder() as ran:
        play(database, players)
    database.close()
    assert set(ran.unscoped) == set(OF_EVERYBODY), ran.unscoped
    unplayed = {
        f"{module}.{name}"
        for module, name in mutants.queries()
        if f"{module}.{name}" not in ran.called and id(getattr(sys.modules[module], name, None)) not in ran.executed
    }
    assert not unplayed, "script.py has no step for these queries"
