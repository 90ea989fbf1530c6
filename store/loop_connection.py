"""SQLite on a request's path: no thread, no pool, one connection of the event loop's own, statements made once.

SQLAlchemy writes the SQL; what runs it here is the driver alone, which takes a tenth of the time: 10 us of processor
time to look a user up, 128 by way of a thread; 72 to store a turn, else 326 (2026-11-30, two shared cores,
``python -m tests.store.loop_connection_cost``). Of SQLAlchemy's insides it takes `SQLCompiler.bind_names`, a public
name, and the types' processors; `test_loop_connection.py` fails where they are others.
"""

import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Dialect, Insert, Select
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.types import TypeEngine

PRAGMAS = ("foreign_keys=ON", "secure_delete=ON", "synchronous=NORMAL", "wal_autocheckpoint=0")

Processor = Callable[[Any], Any] | None


class Answer(NamedTuple):
    """What a statement gave; named as SQLAlchemy names it."""

    rows: list[tuple[Any, ...]]
    rowcount: int

    def first(self) -> tuple[Any, ...] | None:
        """The first row, or None."""
        return self.rows[0] if self.rows else None


class _Prepared(NamedTuple):
    sql: str
    preset: Mapping[str, Any]
    parameters: dict[str, Processor]
    columns: list[Processor]


class LoopConnection:
    """A connection for statements that a module made once, each its own transaction; for one thread.

    It waits for nobody: raises ``sqlite3.OperationalError`` while another connection writes. Commits do not wait for
    the disk, and checkpoints are somebody else's work. ``dialect`` writes parameters by name.
    """

    def __init__(self, file: Path, dialect: Dialect) -> None:
        self._file = file
        self._dialect = dialect
        self._connection: sqlite3.Connection | None = None
        self._prepared: dict[Select[Any] | Insert, _Prepared] = {}

    def execute(self, statement: Select[Any] | Insert, values: Mapping[str, Any]) -> Answer:
        """Run ``statement`` with its parameters by name. Raises ``sqlite3.Error``."""
        found = self._prepared.get(statement) or self._prepare(statement)
        values = {**found.preset, **values}
        given = {name: values[name] if bind is None else bind(values[name]) for name, bind in found.parameters.items()}
        cursor = self._open().execute(found.sql, given)
        rows = [
            tuple(value if read is None else read(value) for value, read in zip(row, found.columns, strict=True))
            for row in cursor
        ]
        return Answer(rows, cursor.rowcount)

    def close(self) -> None:
        """End the connection; the next statement opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            uri = f"{self._file.resolve().as_uri()}?mode=rw"  # a file that is not there is made by `migrate` alone
            self._connection = sqlite3.connect(uri, uri=True, timeout=0, isolation_level=None, check_same_thread=False)
            for pragma in PRAGMAS:
                self._connection.execute(f"PRAGMA {pragma}").fetchall()
        return self._connection

    def _prepare(self, statement: Select[Any] | Insert) -> _Prepared:
        compiled = statement.compile(dialect=self._dialect)
        assert isinstance(compiled, SQLCompiler)
        selected = statement.selected_columns if isinstance(statement, Select) else ()
        self._prepared[statement] = found = _Prepared(
            str(compiled),
            {name: value for name, value in compiled.params.items() if value is not None},
            {name: self._type(bind).bind_processor(self._dialect) for bind, name in compiled.bind_names.items()},
            [self._type(column).result_processor(self._dialect, None) for column in selected],
        )
        return found

    def _type(self, of: ColumnElement[Any]) -> TypeEngine[Any]:
        return of.type.dialect_impl(self._dialect)
