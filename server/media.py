"""Which message parts other than text are let through to the engine, which fetches what their URLs name."""

import re
from collections.abc import Collection, Iterator
from typing import Any

from store.errors import Invalid

DATA = "data"
"""Stands for ``data:`` URLs, which hold what they name."""
DOMAIN = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)+")
# No user and no odd character in the authority: readers of URLs differ in what host such a one has.
_URL = re.compile(r"https?://([a-z0-9.-]+)(:[0-9]{1,5})?([/?#][^\s\\]*)?", re.IGNORECASE)
_SCHEME = re.compile(r"[\x00-\x20]*[a-z][a-z0-9+.-]*:", re.IGNORECASE)
_UNREAD = re.compile(r"[\t\r\n]")  # what readers of URLs leave out, wherever it stands


def check_media(part: Any, allowed: Collection[str], param: str) -> None:
    """Raise ``Invalid`` for a part that is not text, unless all its URLs are of ``allowed``: ``data``, or hosts."""
    if not allowed:
        raise Invalid(f"Parts of type {part['type']!r} are not accepted here: only text.", param=param)
    for text in _texts(part):
        if text[:5].lower() == "data:":
            fits = DATA in allowed
        elif _SCHEME.match(_UNREAD.sub("", text)):
            url = _URL.fullmatch(text)
            fits = url is not None and url[1].lower().rstrip(".") in allowed
        else:
            continue
        if not fits:
            raise Invalid(f"A part may not name {text[:80]!r}: ATTUNE_ALLOW_MEDIA says what is fetched.", param=param)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _texts(inner)
