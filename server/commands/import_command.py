"""`attune import`: a file of a user's past, cut into lines and sent to a running server a few at a time."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

import httpx
import ijson

from preference.imports import formats
from preference.imports.items import Format
from store.errors import AttuneError, Invalid

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


@dataclass
class Total:
    """What has become of a file's rows."""

    rows: int = 0
    taken: dict[str, int] = field(default_factory=dict)
    repeated: int = 0
    skipped: int = 0
    skipped_told: list[tuple[int, str]] = field(default_factory=list)
    refused: int = 0
    refused_told: list[tuple[int, str]] = field(default_factory=list)

    def refuse(self, number: int, why: str) -> None:
        """Count a row that is not sent."""
        self.refused += 1
        if len(self.refused_told) < TOLD:
            self.refused_told.append((number, why))


class Stopped(AttuneError):
    """No more was taken; ``after`` is the row that was taken last, ``total`` what became of those before."""

    def __init__(self, message: str, after: int, total: Total) -> None:
        super().__init__(message)
        self.after = after
        self.total = total


def rows(file: BinaryIO) -> Iterator[Row]:
    """The rows of a file: lines of JSON, a document of JSON, or lines of text. Raises ``Invalid``."""
    mark = file.read(len(_MARK)) == _MARK
    start = len(_MARK) if mark else 0
    file.seek(start)
    first = next((line for line in iter(partial(file.readline, DOCUMENT_LIMIT), b"") if line.strip()), b"")
    begins = first.lstrip()[:1]
    file.seek(start)
    if begins == b"[":
        for number, row in enumerate(ijson.items(file, "item", use_float=True), 1):
            yield number, json.dumps(row).encode()
        return
    if begins == b"{" and not _is_json(first):
        if (document := _document(file)) is not None:
            for number, row in enumerate(formats.rows(document, formats.detected(document)), 1):
                yield number, json.dumps(row).encode()
            return
        file.seek(start)  # lines, of which the first is broken
    of_text = begins not in (b"{", b'"')
    for number, line in enumerate(file, 1):
        if line := line.strip():
            yield number, _as_text(line) if of_text and not (line[:1] == b"{" and _is_json(line)) else line


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

    ``on_progress`` is told how far in the file it has come. Raises ``Stopped``, and ``Invalid`` for a file of which
    nothing can be read.
    """
    total = Total()
    waiting: dict[str, list[Row]] = {}
    sizes: dict[str, int] = {}
    people: set[str] = set()
    broken: Invalid | None = None
    for number, row in _read(file):
        if isinstance(row, Invalid):
            if not total.rows:
                raise row
            broken = row
            break
        total.rows = number
        if number <= after:
            continue
        person = _person(row)
        owner = user or person
        if owner is None:
            total.refuse(number, "it names no user in user_id: say whose it is with --user")
            continue
        if user is not None and person is not None and "of" not in params:
            people.add(person)
            if len(people) > 1:
                told = f"The rows are of several people ({', '.join(sorted(people))}): say with --of whose are taken."
                raise Stopped(told, after, total)
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
    if broken is not None:
        raise Stopped(broken.message, total.rows, total)
    return total


def _read(file: BinaryIO) -> Iterator[tuple[int, bytes | Invalid]]:
    """The rows, and at last what is wrong with the file, if anything is."""
    try:
        yield from rows(file)
    except ijson.JSONError as error:
        yield 0, Invalid(f"The file is not JSON: {error}", param="file")
    except Invalid as error:
        yield 0, error


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
    raise Stopped(why, after, total)


def _add(total: Total, some: list[Row], told: dict[str, Any]) -> None:
    for kind, count in told["taken"].items():
        total.taken[kind] = total.taken.get(kind, 0) + count
    total.repeated += told["repeated"]
    total.skipped += told["skipped"]
    total.refused += told["refused"]
    total.skipped_told += [
        (some[one["line"] - 1][0], one["reason"])
        for one in told.get("skipped_lines", ())[: TOLD - len(total.skipped_told)]
    ]
    shown = told["refused_lines"][: TOLD - len(total.refused_told)]
    total.refused_told += [(some[one["line"] - 1][0], one["message"]) for one in shown]


def _reason(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"The server answered {answer.status_code}."


def _person(row: bytes) -> str | None:
    """Whom a row is about, by its own words."""
    try:
        held = json.loads(row)
    except (ValueError, RecursionError):
        return None
    names = (held.get(name) for name in ("user_id", "observed_id", "observed")) if isinstance(held, dict) else ()
    return next((name for name in names if isinstance(name, str) and name.strip()), None)


def _document(file: BinaryIO) -> Any:
    """All of the file as one value; None where it is none. Raises ``Invalid`` for too large a file."""
    raw = file.read(DOCUMENT_LIMIT + 1)
    if len(raw) > DOCUMENT_LIMIT:
        raise Invalid(f"A document of JSON may have {DOCUMENT_LIMIT:,} bytes: send a list, or lines.", param="file")
    try:
        return json.loads(raw.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return None


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return False
    return True


def _as_text(line: bytes) -> bytes:
    """As a row; what is not UTF-8 as it is, which the server refuses by its line."""
    try:
        return json.dumps(line.decode()).encode()
    except UnicodeDecodeError:
        return line


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
