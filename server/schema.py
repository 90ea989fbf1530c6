"""Bounds on what a client may have a grammar compiled from: the schemas of tools and of structured answers.

The engine compiles them while every other request waits, without a time limit for schemas. Seconds to hours are
possible from a few bytes: the cost of ``{1,N}`` in a pattern grows with N², and so does that of ``maxProperties``.
"""

import json
import re
from collections.abc import Collection, Iterator
from typing import Any

from preference.errors import Invalid

MAX_BYTES = 256 * 1024
"""Of one field as JSON."""
MAX_DEPTH = 60
"""Objects and arrays inside each other; vLLM takes 64."""
MAX_TOOLS = 128
MAX_PATTERN = 512
"""Characters of one regular expression."""
MAX_REPEATS = 2000
"""Sum of the repeat counts of all regular expressions in one field."""
MAX_LENGTHS = 1_000_000
"""Sum of the lengths and numbers of items that one field asks for."""
MAX_PROPERTIES = 100
"""Largest ``minProperties`` and ``maxProperties``."""

_REPEAT = re.compile(r"\{\s*(\d*)\s*,?\s*(\d*)\s*\}")
_SIZES = frozenset({"minLength", "maxLength", "minItems", "maxItems", "minContains", "maxContains"})
_PROPERTIES = frozenset({"minProperties", "maxProperties"})
_TOOL_NAME = re.compile(r"[A-Za-z0-9_.:/-]{1,128}")
_FORMATS = ["text", "json_object", "json_schema"]


def check_schemas(field: Any, param: str) -> None:
    """Raise ``Invalid`` where ``field``, which holds schemas at any depth, asks for more than the bounds."""
    if not isinstance(field, dict | list):
        return
    repeats = lengths = 0
    objects = [item for level in _levels(field, param) for item in level if isinstance(item, dict)]
    for key, value in (pair for item in objects for pair in item.items()):
        for pattern in _patterns(key, value):
            repeats += _repeats(pattern, param)
        if isinstance(value, int | float) and key in _SIZES:
            lengths += _size(value, MAX_LENGTHS, f"{param}: {key}", param)
        elif isinstance(value, int | float) and key in _PROPERTIES:
            _size(value, MAX_PROPERTIES, f"{param}: {key}", param)
    _size(repeats, MAX_REPEATS, f"{param}: the sum of the repeat counts in its patterns", param)
    _size(lengths, MAX_LENGTHS, f"{param}: the sum of its lengths and numbers of items", param)
    _size(len(json.dumps(field)), MAX_BYTES, f"{param}: its size in bytes", param)


def check_depth(field: Any, param: str) -> None:
    """Raise ``Invalid`` where objects and arrays nest deeper than any reader of JSON is sure to bear."""
    for _ in _levels(field, param):
        pass


def check_tools(tools: Any, param: str = "tools") -> None:
    """Raise ``Invalid`` for too many tools, or for a name that is more than a name: it enters the prompt as it is."""
    _size(len(tools or ()), MAX_TOOLS, f"{param}: their number", param)
    for number, tool in enumerate(tools or ()):
        function = tool.get("function", tool)
        name = function.get("name") if isinstance(function, dict) else None
        check_tool_name(name, f"{param}.{number}")
    check_schemas(tools, param)


def check_tool_name(name: Any, param: str) -> None:
    """Raise ``Invalid`` unless ``name`` is letters, digits and ``_.:/-`` alone."""
    if not isinstance(name, str) or not _TOOL_NAME.fullmatch(name):
        raise Invalid(f"{param}: a function's name is 1 to 128 letters, digits or _.:/- characters.", param=param)


def check_tool_choice(choice: Any, param: str = "tool_choice") -> None:
    """Raise ``Invalid`` for a choice that names no function, or by more than a name."""
    if not isinstance(choice, dict):
        if choice not in (None, "none", "auto", "required"):
            raise Invalid(f"{param} must be none, auto, required or a function.", param=param)
        return
    named = choice.get("function", choice)
    check_tool_name(named.get("name") if isinstance(named, dict) else None, param)
    check_schemas(choice, param)


def check_format(form: Any, param: str = "response_format") -> None:
    """Raise ``Invalid`` for a form of the answer other than text, JSON, or JSON of a bounded schema."""
    if form is None:
        return
    if form.get("type") not in _FORMATS:
        raise Invalid(f"{param}.type must be one of {', '.join(_FORMATS)}.", param=f"{param}.type")
    check_schemas(form, param)


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


def _repeats(pattern: str, param: str) -> int:
    if len(pattern) > MAX_PATTERN or "\0" in pattern:
        raise Invalid(f"{param}: a pattern may have {MAX_PATTERN} characters at most, and no NUL.", param=param)
    counts = [number for found in _REPEAT.findall(pattern) for number in found if number]
    if any(len(number) > len(str(MAX_REPEATS)) for number in counts):
        return MAX_REPEATS + 1
    return sum(map(int, counts))


def _size(value: float, limit: int, what: str, param: str) -> int:
    if not 0 <= value <= limit:
        raise Invalid(f"{what} must be between 0 and {limit}.", param=param)
    return int(value)
