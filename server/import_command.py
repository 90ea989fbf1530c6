"""`attune import`: a file of a user's past, cut into lines and sent to a running server a few at a time."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

import httpx
import ijson

from preference.errors import AttuneError, Invalid
from preference.imports import formats
from preference.imports.items import Format

SENT_BYTES, SENT_LINES = 1 << 20, 1_000
DOCUMENT_LIMIT = 256 << 20
"""Bytes of a document of JSON that is not a list, which is read whole."""
TRIES = 8
TOLD = 1_000
"""Refused rows that are told one by one."""
_MARK = b"\xef\xbb\xbf"  # of byte order
_LONGEST_WAIT = 60.0

Row = tuple[int, bytes]
"""Its line, or its number in a list, and its JSON in one line."""


class Stopped(AttuneError):
    """The server would not take more; ``after`` is the line that it took last."""

    def __init__(self, message: str, after: int) -> None:
        super().__init__(message)
        self.after = after


@dataclass
class Total:
    """What has become of a file's rows."""

    rows: int = 0
    taken: dict[str, int] = field(default_factory=dict)
    repeated: int = 0
    skipped: int = 0
    refused: int = 0
    refused_told: list[tuple[int, str]] = field(default_factory=list)


def rows(file: BinaryIO) -> Iterator[Row]:
    """The rows of a file: lines of JSON, a document of JSON, or lines of text. Raises ``Invalid``."""
    first = file.readline(DOCUMENT_LIMIT)
    file.seek(len(_MARK) if first.startswith(_MARK) else 0)
    begins = first.removeprefix(_MARK).lstrip()[:1]
    if begins == b"[":
        for number, row in enumerate(ijson.items(file, "item", use_float=True), 1):
            yield number, json.dumps(row).encode()
    elif begins == b"{" and not _is_json(first):
        document = _document(file)
        for number, row in enumerate(formats.rows(document, formats.detected(document)), 1):
            yield number, json.dumps(row).encode()
    else:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield number, line.strip() if begins in (b"{", b'"') else json.dumps(_text(line, number)).encode()


def send(
    file: BinaryIO,
    http: httpx.Client,
    *,
    user: str | None,
    after: int = 0,
    params: dict[str, str],
    sleep: Callable[[float], None] = time.sleep,
    on_progress: Callable[[int], None] = lambda position: None,
) -> Total:
    """Send a file's rows behind ``after`` for ``user``, or each to the one that it names in ``user_id``.

    ``on_progress`` is told how far in the file it has come. Raises ``Stopped``, ``Invalid``.
    """
    total = Total()
    waiting: dict[str, list[Row]] = {}
    sizes: dict[str, int] = {}
    for number, row in _read(file):
        total.rows = number
        if number <= after:
            continue
        owner = user or _named(row, number)
        waiting.setdefault(owner, []).append((number, row))
        sizes[owner] = sizes.get(owner, 0) + len(row)
        if sizes[owner] >= SENT_BYTES or len(waiting[owner]) >= SENT_LINES or sum(sizes.values()) >= 4 * SENT_BYTES:
            for one in list(waiting) if sum(sizes.values()) >= 4 * SENT_BYTES else [owner]:
                _send(http, one, waiting.pop(one), params, total, sleep, after)
                del sizes[one]
            after = max(after, number) if not waiting else after
            on_progress(file.tell())
    for one, left in waiting.items():
        _send(http, one, left, params, total, sleep, after)
    on_progress(file.tell())
    return total


def _read(file: BinaryIO) -> Iterator[Row]:
    try:
        yield from rows(file)
    except ijson.JSONError as error:
        raise Invalid(f"The file is not JSON: {error}", param="file") from error


def _send(
    http: httpx.Client,
    user: str,
    some: list[Row],
    params: dict[str, str],
    total: Total,
    sleep: Callable[[float], None],
    after: int,
) -> None:
    body = b"\n".join(row for _, row in some)
    for attempt in range(TRIES):
        wait = min(2.0**attempt, _LONGEST_WAIT)
        try:
            answer = http.post(
                f"/v1/users/{quote(user, safe='')}/import",
                content=body,
                params=params,
                headers={"Content-Type": "application/jsonl"},
            )
        except httpx.TransportError as error:
            why = f"The server cannot be reached: {error}"
        else:
            if answer.is_success:
                return _add(total, some, answer.json())
            why = _reason(answer)
            if answer.status_code not in (429, 503):
                break
            if (asked := answer.headers.get("retry-after", "")).isdigit():
                wait = min(float(asked), _LONGEST_WAIT)
        if attempt < TRIES - 1:
            sleep(wait)
    raise Stopped(why, after)


def _add(total: Total, some: list[Row], told: dict[str, Any]) -> None:
    for kind, count in told["taken"].items():
        total.taken[kind] = total.taken.get(kind, 0) + count
    total.repeated += told["repeated"]
    total.skipped += told["skipped"]
    total.refused += told["refused"]
    shown = told["refused_lines"][: TOLD - len(total.refused_told)]
    total.refused_told += [(some[one["line"] - 1][0], one["message"]) for one in shown]


def _reason(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"The server answered {answer.status_code}."


def _named(row: bytes, number: int) -> str:
    """The user that a row names. Raises ``Invalid``."""
    try:
        user = json.loads(row)["user_id"]
    except (ValueError, KeyError, TypeError):
        user = None
    if not isinstance(user, str) or not user.strip():
        raise Invalid(f"Row {number} names no user in user_id: say whose it is with --user.", param="user")
    return user


def _document(file: BinaryIO) -> Any:
    raw = file.read(DOCUMENT_LIMIT + 1)
    if len(raw) > DOCUMENT_LIMIT:
        raise Invalid(f"A document of JSON may have {DOCUMENT_LIMIT:,} bytes: send a list, or lines.", param="file")
    try:
        return json.loads(raw.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise Invalid(f"The file is not JSON: {error}", param="file") from error


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return False
    return True


def _text(line: bytes, number: int) -> str:
    try:
        return line.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise Invalid(f"Line {number} is not UTF-8.", param="file") from error


def run(
    path: Path,
    *,
    user: str | None,
    url: str,
    key: str | None,
    format: Format | None,
    of: str | None,
    facts: bool,
    after: int,
    on_progress: Callable[[int], None],
) -> Total:
    """Send the file at ``path`` to the server at ``url``. Raises ``Stopped``, ``Invalid``."""
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    params = {name: value for name, value in (("format", format), ("of", of)) if value is not None}
    params |= {"facts": "true"} if facts else {}
    with path.open("rb") as file, httpx.Client(base_url=url, headers=headers, timeout=120) as http:
        return send(file, http, user=user, after=after, params=params, on_progress=on_progress)
