"""Every table that has a user is exported and erased, to the column: a new one that is forgotten fails here."""

import json
from typing import Any

import pytest
from sqlalchemy import JSON, BigInteger, Boolean, Column, Connection, Float, Integer, LargeBinary, Table, insert, select
from sqlalchemy.sql.schema import ForeignKeyConstraint

from store import users
from store.owner import Owner
from store.rows import scope
from store.tables import metadata
from store.values import Value
from tests.server.conftest import Running
from tests.server.erasing import ANN

OF_USERS = [table for table in metadata.sorted_tables if "user_id" in table.c]
NOT_TOLD = {
    "tenant_id": "the operator's name for the app",
    "user_id": "said once, in the first line",
    "revision": "of caches",
    "bytes": "of the quota",
    "sha256": "opens doors",
    "key_sha256": "recognises the app's key",
    "body_sha256": "recognises the app's request",
    "fence": "of the lease",
    "lease_until": "of the lease",
    "attempt": "of the lease",
    "deferrals": "of the lease",
    "run_after": "of the lease",
    "error": "the operators', of the server",
    "learned_from": "in the manifest",
}
VALUES = {  # columns that have to make sense
    "scopes": ["data"],
    "standing_values": [Value(preference="mark-standing_values").model_dump()],
    "applied_values": [Value(preference="mark-applied_values").model_dump()],
    "applied_preferences": [{"id": "p", "text": "mark-applied_preferences", "score": 1.0}],
    "request": [{"role": "user", "content": "mark-request"}],
    "prompt": [{"role": "user", "content": "mark-prompt"}],
    "candidates": [{"text": "mark-candidates"}],
    "vector": b"\0\0\x80\x3f",
}


@pytest.fixture
def planted(running: Running) -> Running:
    """A row of Ann's in each table, with something of its own in each column."""

    def plant(c: Connection) -> None:
        users.ensure(c, ANN)
        for table in OF_USERS:
            if table.name != "users":
                c.execute(insert(table).values(**_row(table, ANN)))

    running.services.database.write_now(plant)
    return running


def _row(table: Table, owner: Owner) -> dict[str, Any]:
    return {column.name: _value(table, column, owner) for column in table.c}


def _value(table: Table, column: Column[Any], owner: Owner) -> Any:
    if column.name in ("tenant_id", "user_id"):
        return owner.tenant if column.name == "tenant_id" else owner.user
    for key in table.constraints:  # a row of the other table has the same
        if isinstance(key, ForeignKeyConstraint) and column.name in key.column_keys:
            target = key.elements[key.column_keys.index(column.name)].column
            return _value(target.table, target, owner)
    if column.name in VALUES:
        return VALUES[column.name]
    for kind, value in ((Boolean, True), (Integer, 7), (BigInteger, 7), (Float, 2e9), (LargeBinary, b"\0")):
        if isinstance(column.type, kind):
            return value
    mark = f"mark-{column.name}"
    return [mark] if isinstance(column.type, JSON) else mark[: getattr(column.type, "length", None) or 64]


def test_each_table_and_column_is_in_the_export(planted: Running) -> None:
    answer = planted.http().get("/v1/users/ann/export")
    assert answer.status_code == 200
    lines = [json.loads(line) for line in answer.text.split("\n")[:-1]]
    said = json.dumps(lines)
    for table in OF_USERS:
        for column in table.c:
            value = _value(table, column, ANN)
            if table.name == "users" or column.name in NOT_TOLD or not isinstance(value, str | list):
                continue
            assert json.dumps(value)[1:-1] in said, f"{table.name}.{column.name} is not told"
    assert "mark-error" not in said
    assert not {"sha256", "key_sha256"} & {name for line in lines for name in line}


def test_a_user_who_is_erased_has_no_row_in_any_table(planted: Running) -> None:
    assert planted.http().delete("/v1/users/ann").status_code in (200, 202)

    def left(c: Any) -> list[str]:
        return [table.name for table in OF_USERS if c.execute(select(table).where(scope(table, ANN))).first()]

    assert planted.services.database.read_now(left) == []
