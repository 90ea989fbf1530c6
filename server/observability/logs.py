"""What the server logs, as text or JSON: each line with its request's id, none with a user's text."""

import logging
import os
import sys
import traceback
from collections.abc import Iterator
from contextvars import ContextVar
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Literal, TextIO

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter

from store.database import StoreUnavailable
from store.errors import EngineUnavailable

Format = Literal["text", "json"]

request_id: ContextVar[str] = ContextVar("request_id", default="-")
"""The id of the request that this task answers."""

access = logging.getLogger("attune.access")
"""One line a request."""

# Their messages speak of code and of the system. Any other's may quote what it was given, which may be a user's text.
_TELLING = (
    OSError,
    ImportError,
    AttributeError,
    NameError,
    TypeError,
    MemoryError,
    RecursionError,
    EngineUnavailable,
    StoreUnavailable,
)
_GROUP_LIMIT = 5
_CHAIN_LIMIT = 10


def configure(level: str, style: Format) -> None:
    """Send every logger's lines to stderr, unless the process has configured its logging already."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # a progress bar is no line of a log
    logging.basicConfig(level=level.upper(), handlers=[handler(style)])


def configure_beside_terminal(level: str, file: Path) -> None:
    """Send every logger's lines to ``file``, and errors alone to the terminal, where a person reads other words."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    file.parent.mkdir(parents=True, exist_ok=True)
    kept = RotatingFileHandler(file, maxBytes=10 << 20, backupCount=1, encoding="utf-8")
    kept.setFormatter(_TextLine())
    kept.addFilter(_add_request_id)
    shown = handler("text")
    shown.setLevel(logging.ERROR)
    logging.basicConfig(level=level.upper(), handlers=[kept, shown])


def handler(style: Format, stream: TextIO | None = None) -> logging.Handler:
    """A handler that writes our lines to ``stream`` (stderr)."""
    made = logging.StreamHandler(stream or sys.stderr)
    made.setFormatter(_JsonLine() if style == "json" else _TextLine())
    made.addFilter(_add_request_id)
    return made


def describe(error: BaseException) -> str:
    """A traceback that says where an error was raised, and what it says only where that cannot hold a user's text."""
    return "".join(_traceback(error, _CHAIN_LIMIT)).rstrip("\n")


def _add_request_id(record: logging.LogRecord) -> bool:
    record.request_id = request_id.get()
    return True


class _Line(logging.Formatter):
    """Formats exceptions by ``describe``."""

    def formatException(self, ei: object) -> str:
        error = ei[1] if isinstance(ei, tuple) else None
        return describe(error) if isinstance(error, BaseException) else ""


class _TextLine(_Line):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s [%(request_id)s] %(message)s")


class _JsonLine(_Line, JsonFormatter):
    def __init__(self) -> None:
        JsonFormatter.__init__(
            self,
            ["timestamp", "levelname", "name", "request_id", "message"],
            timestamp=True,
            rename_fields={"levelname": "level", "name": "logger", "exc_info": "exception"},
            json_ensure_ascii=False,
            reserved_attrs=[*RESERVED_ATTRS, "color_message"],  # uvicorn's second wording, for terminals
        )


def _traceback(error: BaseException, depth: int) -> Iterator[str]:
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None and depth:
        yield from _traceback(before, depth - 1)
        yield "\nwhich led to:\n\n"
    yield "Traceback (most recent call last):\n"
    yield from traceback.format_tb(error.__traceback__)
    name = type(error).__qualname__
    yield f"{name}: {error}\n" if isinstance(error, _TELLING) else f"{name}\n"
    if isinstance(error, BaseExceptionGroup) and depth:
        for number, inner in enumerate(error.exceptions[:_GROUP_LIMIT], 1):
            yield f"--- {number} of {len(error.exceptions)} in this group ---\n"
            yield from _traceback(inner, depth - 1)
