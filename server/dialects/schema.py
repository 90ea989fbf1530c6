"""Bounds on what a client may have a grammar compiled from: the schemas of tools and of structured answers.

The engine compiles them while every other request waits, without a time limit for schemas. Seconds to hours are
possible from a few bytes: the cost of ``{1,N}`` in a pattern grows with N², repeats inside each other multiply, and
``maxProperties`` grows with N² too.
"""

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from store.errors import Invalid

MAX_BYTES = 256 * 1024
"""Of a request's schemas as JSON."""
MAX_DEPTH = 60
"""Objects and arrays inside each other; vLLM takes 64."""
MAX_TOOLS = 128
MAX_PATTERN = 512
"""Characters of one regular expression."""
MAX_PATTERNS = 16 * 1024
"""Characters of a request's regular expressions together."""
MAX_COST = 4000
"""Sum of what a request's regular expressions cost, see ``_cost``: a second or two of the engine's time at most."""
MAX_LENGTHS = 1_000_000
"""Sum of the lengths and numbers of items that a request asks for."""
MAX_PROPERTIES = 100
"""Largest ``minProperties`` and ``maxProperties``."""

_SYMBOL = re.compile(r"\\.|\[(?:\\.|[^\]\\])*\]|\{[\s0-9,]*\}|.", re.DOTALL)  # a class and a count are one each
_UNICODE = re.compile(r"\.|\[\^|\\[DSWpP]")
_BYTES = 7
"""A symbol that stands for any character takes about as many states, one for each way that UTF-8 begins."""
_SIZES = frozenset({"minLength", "maxLength", "minItems", "maxItems", "minContains", "maxContains"})
_PROPERTIES = frozenset({"minProperties", "maxProperties"})
_TOOL_NAME = re.compile(r"[A-Za-z0-9_.:/-]{1,128}")
_FORMATS = ["text", "json_object", "json_schema"]


def check_schemas(fields: Mapping[str, Any]) -> None:
    """Raise ``Invalid`` where ``fields``, which hold schemas at any depth, ask together for more than the bounds."""
    cost = lengths = size = characters = 0
    for param, field in fields.items():
        size += len(json.dumps(field))  # the sizes first: what follows takes longer than they do
        _size(size, MAX_BYTES, f"{param}: the size of the request's schemas in bytes", param)
        objects = [item for level in _levels(field, param) for item in level if isinstance(item, dict)]
        for key, value in (pair for item in objects for pair in item.items()):
            for pattern in _patterns(key, value):
                characters += len(pattern)
                _size(characters, MAX_PATTERNS, f"{param}: the characters of the request's patterns", param)
                cost += _cost(pattern, param)
                _size(cost, MAX_COST, f"{param}: the cost of the repeats in the request's patterns", param)
            if isinstance(value, int | float) and key in _SIZES:
                lengths += _size(value, MAX_LENGTHS, f"{param}: {key}", param)
            elif isinstance(value, int | float) and key in _PROPERTIES:
                _size(value, MAX_PROPERTIES, f"{param}: {key}", param)
        _size(lengths, MAX_LENGTHS, f"{param}: the sum of the request's lengths and numbers of items", param)


def check_depth(field: Any, param: str) -> None:
    """Raise ``Invalid`` where objects and arrays nest deeper than any reader of JSON is sure to bear."""
    for _ in _levels(field, param):
        pass


def check_tools(tools: Any) -> None:
    """Raise ``Invalid`` for too many tools, or for a name that is more than a name: it enters the prompt as it is."""
    _size(len(tools or ()), MAX_TOOLS, "tools: their number", "tools")
    for number, tool in enumerate(tools or ()):
        check_tool_names(tool, f"tools.{number}")


def check_tool_names(tool: dict[str, Any], param: str) -> None:
    """Raise ``Invalid`` unless ``tool``, a call, or a choice has a name, there or in its function, and no other."""
    holders = [holder for holder in (tool, tool.get("function")) if isinstance(holder, dict)]
    for name in [holder["name"] for holder in holders if "name" in holder] or [None]:
        check_tool_name(name, param)


def check_tool_name(name: Any, param: str) -> None:
    """Raise ``Invalid`` unless ``name`` is letters, digits and ``_.:/-`` alone."""
    if not isinstance(name, str) or not _TOOL_NAME.fullmatch(name):
        raise Invalid(f"{param}: a function's name is 1 to 128 letters, digits or _.:/- characters.", param=param)


def check_tool_choice(choice: Any) -> None:
    """Raise ``Invalid`` for a choice that names no function, or by more than a name."""
    if not isinstance(choice, dict):
        if choice not in (None, "none", "auto", "required"):
            raise Invalid("tool_choice must be none, auto, required or a function.", param="tool_choice")
        return
    if choice.get("type") != "function":
        raise Invalid("tool_choice.type must be function.", param="tool_choice")
    check_tool_names(choice, "tool_choice")


def check_format(form: Any, param: str = "response_format") -> None:
    """Raise ``Invalid`` for a form of the answer other than text, JSON, or JSON of a bounded schema."""
    if form is None:
        return
    if form.get("type") not in _FORMATS:
        raise Invalid(f"{param}.type must be one of {', '.join(_FORMATS)}.", param=f"{param}.type")


def _levels(field: Any, param: str) -> Iterator[list[Any]]:
    level = [field]
    for _ in range(MAX_DEPTH):
        yield level
        level = [inner for item in level for inner in _inside(item) if isinstance(inner, dict | list)]
        if not level:
            return
    raise Invalid(f"{param} may nest {MAX_DEPTH} levels deep at most.", param=param)


def _inside(item: Any) -> Collection[Any]:
    if isinstance(item, dict):
        return item.values()
    return item if isinstance(item, list) else ()


def _patterns(key: str, value: Any) -> list[str]:
    if key == "pattern" and isinstance(value, str):
        return [value]
    return list(value) if key == "patternProperties" and isinstance(value, dict) else []


class _Part(NamedTuple):
    """Of a pattern: characters outside and inside of counted repeats, written out, and parts of several lengths."""

    plain: int
    repeated: int
    choices: int

    def times(self, count: int, *, varies: bool, ends: bool) -> "_Part":
        plain, repeated = (self.plain, self.repeated) if count <= 1 else (0, count * (self.plain + self.repeated))
        again = 1 if ends else 2
        return _Part(plain, again * repeated, again * max(count, 1) * self.choices + varies)


def _joined(parts: Iterable[_Part]) -> _Part:
    return _Part(*(sum(column) for column in zip(_Part(1, 0, 0), *parts, strict=True)))


def _cost(pattern: str, param: str) -> int:
    """Repeated characters, times the square of the choices: one text may be read in many ways, and all are followed.

    Measured with xgrammar: where parts of several lengths follow each other, as in ``(.{0,9}){23}``, time grows with
    the cube of their number.
    """
    if len(pattern) > MAX_PATTERN or "\0" in pattern:
        raise Invalid(f"{param}: a pattern may have {MAX_PATTERN} characters at most, and no NUL.", param=param)
    groups: list[list[_Part]] = [[]]
    for symbol in _SYMBOL.findall(pattern):
        parts = groups[-1]
        counts = [int(count) for count in re.findall("[0-9]+", symbol)] if symbol[0] == "{" else []
        if symbol == "(":
            groups.append([])
        elif symbol == ")" and len(groups) > 1:
            groups.pop()
            groups[-1].append(_joined(parts))
        elif parts and (counts or symbol in "?*+"):
            ends = symbol == "?" or len(counts) == 2 or (bool(counts) and "," not in symbol)
            parts[-1] = parts[-1].times(max(counts, default=1), varies=not counts or "," in symbol, ends=ends)
        else:
            parts.append(_Part(_BYTES if _UNICODE.match(symbol) else 1, 0, 0))
    whole = _joined(part for parts in groups for part in parts)
    return max(whole.repeated, 1) * max(whole.choices, 1) ** 2


def _size(value: float, limit: int, what: str, param: str) -> int:
    if not 0 <= value <= limit:
        raise Invalid(f"{what} must be between 0 and {limit}.", param=param)
    return int(value)
