"""Rules of code: Python by its syntax tree, other languages by their words."""

import ast
import re

from lab.edits.rules.reading import Rule, code, count, lines, rather, share, without

_FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef


def _python(text: str) -> ast.Module | None:
    try:
        return ast.parse(code(text))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _functions(text: str) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    tree = _python(text)
    return [] if tree is None else [node for node in ast.walk(tree) if isinstance(node, _FUNCTION)]


def python_type_hints(text: str) -> float:
    """Of parameters and results of functions, the share that is annotated; 0 where it is no Python."""
    places: list[ast.expr | None] = []
    for function in _functions(text):
        given = function.args
        parameters = [*given.posonlyargs, *given.args, *given.kwonlyargs]
        places += [parameter.annotation for parameter in parameters if parameter.arg not in ("self", "cls")]
        places.append(function.returns)
    return share(sum(place is not None for place in places), len(places))


def python_docstrings(text: str) -> float:
    """The share of functions with a docstring."""
    functions = _functions(text)
    return share(sum(ast.get_docstring(function) is not None for function in functions), len(functions))


def python_fstrings(text: str) -> float:
    """Of the ways to put values into a text, the share of f-strings."""
    tree = _python(text)
    nodes = [] if tree is None else list(ast.walk(tree))
    good = sum(isinstance(node, ast.JoinedStr) for node in nodes)
    return share(good, good + sum(_is_old_format(node) for node in nodes))


def _is_old_format(node: ast.AST) -> bool:
    if isinstance(node, ast.BinOp):
        return isinstance(node.op, ast.Mod) and isinstance(node.left, ast.Constant) and isinstance(node.left.value, str)
    called = node.func if isinstance(node, ast.Call) else None
    return isinstance(called, ast.Attribute) and called.attr == "format"


def no_comments(text: str) -> float:
    """No line of code has a comment; 0 where nothing looks like code."""
    written = code(text)
    if not re.search(r"[(){};=]", written):
        return 0.0
    marks = r"#(?!!)" if _python(text) else r"#(?!!)|//|--\s|/\*"  # in Python, two strokes divide
    return without(rf"(?:^|\s)(?:{marks})", re.MULTILINE)(written)


def js_const(text: str) -> float:
    """Of the declarations, the share of const."""
    return rather(r"\bconst\s", r"\b(?:let|var)\s")(code(text))


def js_arrow(text: str) -> float:
    """Of the functions, the share of arrow functions."""
    return rather(r"=>", r"\bfunction\b")(code(text))


def js_async(text: str) -> float:
    """Await, and half as good beside ``then``."""
    written = code(text)
    return float("await " in written) * (0.5 if ".then(" in written else 1.0)


_SQL = (
    "select from where join left inner on group order by having limit as and or not in is null update set delete "
    "insert into values count sum avg min max distinct union case when then else end desc asc between"
).split()


def _sql_keywords(text: str) -> list[str]:
    words = re.findall(r"[A-Za-z]+", _unquoted(code(text)))
    return [word for word in words if word.lower() in _SQL] if count(r"\b(?:select|update|delete)\b", text) else []


def _unquoted(code: str) -> str:
    return re.sub(r"'[^'\n]*'", "''", code)


def sql_upper(text: str) -> float:
    """The share of SQL keywords in upper case."""
    keywords = _sql_keywords(text)
    return share(sum(word.isupper() for word in keywords), len(keywords))


def sql_lower(text: str) -> float:
    """The share of SQL keywords in lower case."""
    keywords = _sql_keywords(text)
    return share(sum(word.islower() for word in keywords), len(keywords))


def sql_clause_lines(text: str) -> float:
    """The share of clauses after the first that begin a line."""
    clauses = r"(?:from|where|(?:left |inner )?join|group by|order by|having|limit)\b"
    written = code(text)
    begun = count(rf"^\s*{clauses}", written, re.I | re.M)
    return share(begun, count(rf"(?<!left )(?<!inner )\b{clauses}", written))


def conventional_commit(text: str) -> float:
    """The first line is ``type(scope): subject``."""
    first = lines(code(text))[0].strip("`* ")
    types = "feat|fix|docs|style|refactor|perf|test|build|ci|chore|revert"
    return float(re.match(rf"(?:{types})(?:\([\w /-]+\))?!?: \S", first) is not None)


RULES: dict[str, Rule] = {
    rule.__name__: rule
    for rule in (
        python_type_hints, python_docstrings, python_fstrings, no_comments, js_const, js_arrow, js_async, sql_upper,
        sql_lower, sql_clause_lines, conventional_commit,
    )
}  # fmt: skip
