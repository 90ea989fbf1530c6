"""Removes each scope predicate in turn, in a process of its own, and plays the script of `script.py` without it.

``python -m tests.preference.mutants`` prints what became of each; a mutant that survives is a query of which no test
says whose rows it may touch. Add a step to the script that would notice.
"""

import ast
import copy
import importlib
import json
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from store.database import Database
from store.owner import Owner
from tests.preference.script import ALIKE, Player, play, prepare

ROOT = Path(__file__).parents[2]
PACKAGES = ("store", "preference", "adapters", "server")
OWNERS = ALIKE[:3]  # the first shares its tenant with the second and its user with the third
SECONDS = 60  # after which a mutant that does not end counts as noticed

_COLUMNS = {"tenant_id", "user_id", "opaque_id", "sha256"}
_QUERIES = {"select", "update", "delete", "exists"}


@dataclass(frozen=True)
class Predicate:
    """A condition that says whose rows a query may touch, at a place in the source."""

    module: str
    function: str
    line: int
    column: int
    text: str

    def __str__(self) -> str:
        return f"{self.module}.{self.function}, line {self.line}: {self.text}"


@dataclass(frozen=True)
class Outcome:
    """What the script said without the predicate; ``noticed`` is None when nobody noticed."""

    predicate: Predicate
    noticed: str | None
    broken: bool = False  # the mutant, not what it does


def modules() -> Iterator[tuple[str, str]]:
    """Name and source of every module of ours that may query."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            if "migrations" not in path.parts:
                yield ".".join(path.relative_to(ROOT).with_suffix("").parts), path.read_text()


def predicates() -> list[Predicate]:
    """Every scope predicate: a call of ``scope``, or a comparison of a column that says who somebody is."""
    found = []
    for module, source in modules():
        for function, node in _within(ast.parse(source)):
            if _is_predicate(node):
                text = " ".join((ast.get_source_segment(source, node) or "").split())
                found.append(Predicate(module, function, node.lineno, node.col_offset, text))
    return found


def queries() -> set[tuple[str, str]]:
    """Module, and function or constant, of every query that is built."""
    return {(module, function) for module, source in modules() for function in queries_of(source)}


def queries_of(source: str) -> set[str]:
    """The functions and constants of a module that build queries; a query that is a table's method is one, too."""
    tree = ast.parse(source)
    builders = {name for name, of in imported(tree, "sqlalchemy").items() if of in _QUERIES}
    tables = imported(tree, "store.tables")
    found = set()
    for function, node in _within(tree):
        if not isinstance(node, ast.Call):
            continue
        asked, of = node.func, getattr(node.func, "value", None)
        of_table = isinstance(of, ast.Name) and of.id in tables and getattr(asked, "attr", "") in _QUERIES
        if of_table or (isinstance(asked, ast.Name) and asked.id in builders):
            found.add(function)
    return found


def imported(tree: ast.Module, package: str) -> dict[str, str]:
    """What a module has from a package, or from one of its modules: what it calls it, and its name there."""
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    of_it = [node for node in imports if f"{node.module}.".startswith(f"{package}.")]
    return {name.asname or name.name: name.name for node in of_it for name in node.names}


def _within(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    """Every expression, with the name of the function, method or constant of the module that it is in."""

    def walk(nodes: Sequence[ast.stmt], prefix: str) -> Iterator[tuple[str, ast.expr]]:
        for node in nodes:
            if isinstance(node, ast.ClassDef):
                yield from walk(node.body, f"{prefix}{node.name}.")
                continue
            name = node.name if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else _constant(node)
            yield from ((prefix + name, child) for child in ast.walk(node) if isinstance(child, ast.expr))

    return walk(tree.body, "")


def _constant(node: ast.stmt) -> str:
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return next((target.id for target in targets if isinstance(target, ast.Name)), "")


def _is_predicate(node: ast.AST) -> bool:
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and isinstance(node.ops[0], ast.Eq):
        return any(_names_somebody(side) for side in (node.left, *node.comparators))
    if not isinstance(node, ast.Call):
        return False
    if isinstance(node.func, ast.Attribute) and node.func.attr == "in_":
        asked = node.func.value
        return any(_names_somebody(one) for one in (asked.args if isinstance(asked, ast.Call) else [asked]))
    return isinstance(node.func, ast.Name) and node.func.id == "scope"


def _names_somebody(node: ast.expr) -> bool:
    """``table.c.tenant_id`` and the like; an API key is named by its id, too."""
    if not (isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute) and node.value.attr == "c"):
        return False
    return node.attr in _COLUMNS or (node.attr == "id" and ast.unparse(node.value) == "api_keys.c")


class _Without(ast.NodeTransformer):
    def __init__(self, removed: Predicate | None) -> None:
        self.removed = removed
        self.count = 0

    def visit(self, node: ast.AST) -> Any:
        removed = self.removed
        if removed is None or not isinstance(node, ast.expr) or not _is_predicate(node):
            return self.generic_visit(node)
        if (node.lineno, node.col_offset) == (removed.line, removed.column):
            self.count += 1
            return ast.copy_location(ast.parse('__import__("sqlalchemy").true()', mode="eval").body, node)
        return self.generic_visit(node)


def remove(predicate: Predicate, *, really: bool = True) -> None:
    """Take a predicate out of the module that is loaded, for good. Not ``really``: put the same code in again."""
    source = dict(modules())[predicate.module]
    without = _Without(predicate if really else None)
    tree = ast.fix_missing_locations(without.visit(ast.parse(source)))
    if really and without.count != 1:
        raise LookupError(f"{predicate} is there {without.count} times")
    module = importlib.import_module(predicate.module)
    held: Any = module
    for name in predicate.function.split("."):
        held = getattr(held, name)
    if isinstance(held, FunctionType):
        held.__code__ = _code(compile(tree, module.__file__ or "", "exec"), predicate.function)
    else:  # a statement made once
        made = [node for node in tree.body if _constant(node) == predicate.function]
        exec(compile(ast.Module(made, []), module.__file__ or "", "exec"), vars(module))


def _code(code: CodeType, function: str) -> CodeType:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            if constant.co_qualname == function:
                return constant
            if function.startswith(f"{constant.co_qualname}."):
                return _code(constant, function)
    raise LookupError(function)


@dataclass(frozen=True)
class Stage:
    """A store on which the script can begin, its players, and the log that each must leave."""

    file: Path
    players: Sequence[Player]
    expected: Sequence[Any]

    def play(self) -> None:
        """Play on a copy."""
        with tempfile.TemporaryDirectory(dir=self.file.parent) as folder:
            database = Database(f"sqlite:///{shutil.copy(self.file, folder)}")
            try:
                play(database, copy.deepcopy(self.players), self.expected)
            finally:
                database.close()


def stage(folder: Path) -> Stage:
    """Set it up in ``folder``."""
    logs, players = [], []
    for name, owners in (("alone.db", [Owner("alone", "alone")]), ("stage.db", OWNERS)):
        database = Database(f"sqlite:///{folder / name}")
        database.migrate()
        players = prepare(database, owners)
        if name == "alone.db":
            logs = play(database, players)
        database.close()
    return Stage(folder / "stage.db", players, logs[0])


def attempt(made: Stage, predicate: Predicate) -> Outcome:
    """Play without a predicate. Call in a process of its own."""

    def too_long(*_: object) -> None:
        raise TimeoutError(f"it did not end within {SECONDS} s")

    signal.signal(signal.SIGALRM, too_long)
    try:
        remove(predicate)
        signal.alarm(SECONDS)
        made.play()
    except (AssertionError, SQLAlchemyError, TimeoutError) as error:
        reason, _, _ = str(error).partition("\n")
        return Outcome(predicate, f"{type(error).__name__}: {reason}")
    except Exception:
        return Outcome(predicate, traceback.format_exc(), broken=True)
    finally:
        signal.alarm(0)
    return Outcome(predicate, None)


_made: Stage  # the children's, by fork


def _attempt(predicate: Predicate) -> Outcome:
    return attempt(_made, predicate)


def _control(found: Sequence[Predicate]) -> str | None:
    """What the script says when every function was replaced by itself: nothing, or the mutants prove nothing."""
    for predicate in found:
        remove(predicate, really=False)
    try:
        _made.play()
    except AssertionError as error:
        return str(error)
    return None


def run(found: Sequence[Predicate], processes: int) -> list[Outcome]:
    """The outcome of each; each in a fork of this process, which has everything loaded."""
    global _made
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        _made = stage(Path(folder))
        with multiprocessing.get_context("fork").Pool(processes, maxtasksperchild=1) as pool:
            for control in pool.map(_control, [found] * processes, chunksize=1):
                if control is not None:
                    raise AssertionError(f"the script fails without any mutant: {control}")
            return pool.map(_attempt, found, chunksize=1)


def main() -> None:
    """Print the outcomes as lines of JSON."""
    only = sys.argv[1:]
    found = [one for one in predicates() if not only or one.module in only]
    for outcome in run(found, processes=os.cpu_count() or 1):
        print(json.dumps(asdict(outcome)))


if __name__ == "__main__":
    main()
