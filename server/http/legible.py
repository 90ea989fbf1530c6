"""What comes in is text: a query or a body with half a character in it is refused, and the field is named.

JSON can escape half of a surrogate pair; UTF-8, and so no store, can hold it.
"""

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote_to_bytes

from fastapi import Request

from store.errors import Invalid
from store.rows import LONE

_ESCAPED = re.compile(rb"\\u[dD][89a-fA-F]")


async def legible(request: Request) -> None:
    """A dependency of every route. Raises ``Invalid``."""
    query: bytes = request.scope["query_string"]
    for pair in query.split(b"&") if b"%" in query else ():
        name, _, value = pair.partition(b"=")
        try:
            unquote_to_bytes(value).decode()
        except UnicodeDecodeError as error:
            param = unquote_to_bytes(name).decode(errors="replace")
            raise Invalid(f"{param} must be UTF-8.", param=param) from error
    if getattr(request.scope["route"], "body_field", None) is not None:
        check_body(await request.body())


def check_body(raw: bytes) -> None:
    """Raise ``Invalid`` where a text in a body of JSON has a lone surrogate."""
    if not _ESCAPED.search(raw):
        return
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        return  # whoever parses it says so
    for path in _lone(body):
        param = ".".join(path)
        raise Invalid(f"{param} holds half a character, a lone surrogate.", param=param)


def _lone(body: Any) -> Iterator[tuple[str, ...]]:
    pending: list[tuple[Any, tuple[str, ...]]] = [(body, ())]  # no recursion: a body may nest as deep as it likes
    while pending:
        value, path = pending.pop()
        if isinstance(value, str) and LONE.search(value):
            yield path
        elif isinstance(value, dict):
            if any(LONE.search(name) for name in value):
                yield path
            pending += [(inner, (*path, name)) for name, inner in value.items()]
        elif isinstance(value, list):
            pending += [(inner, (*path, str(number))) for number, inner in enumerate(value)]
