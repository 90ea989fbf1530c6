"""Everything held about a user, as streams: lines of JSON, rows that trainers read, an adapter as peft's files.

Rows are read a few at a time, as fast as they are taken. A stream whose user is erased meanwhile is cut, not ended.
"""

import asyncio
import base64
import io
import json
import os
import tarfile
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection

from adapters import dataset
from adapters.artifacts.directories import Directories
from adapters.artifacts.manifest import MANIFEST
from adapters.artifacts.validation import CONFIG, WEIGHTS
from adapters.lifecycle import cohorts, versions
from adapters.lifecycle.versions import Version
from preference import context_rows, preferences
from preference.context_rows import Context
from preference.feedback import edit_rows, feedback, opinions
from preference.preferences import Preference
from server.engine.system_role import has_system_role
from server.settings import Settings
from store import idempotency, job_list, tokens, turns, usage, users
from store.database import Database
from store.errors import NotFound
from store.idempotency import Spent
from store.owner import Owner
from store.turns import Turn
from store.users import User

PAGE = 16  # rows read at once: a turn may take megabytes
_PIECE = 1 << 20
_EVER = 1_000_000  # days


class _Dated(Protocol):
    """A row with a time that no other row of its user has."""

    @property
    def created_at(self) -> float: ...


T = TypeVar("T")
Row = TypeVar("Row", bound=_Dated)


async def everything(database: Database, directories: Directories, user: User) -> AsyncIterator[bytes]:
    """All that is held, one JSON object a line, which says what it is in ``object``."""
    told = {name: value for name, value in vars(user).items() if name not in ("owner", "standing_values", "revision")}
    yield _line("user", {"id": user.owner.user, **told})
    for value in user.standing_values:
        yield _line("value", value.model_dump())
    turn: Turn | None = None
    while page := await _read(database, user, turns.page, after=turn, limit=PAGE):
        turn = page[-1]
        yield b"".join(_line("turn", _of_turn(one)) for one in page)
    async for given in _pages(database, user, feedback.page):
        yield b"".join(_line("feedback", asdict(one)) for one in given)
    async for known in _pages(database, user, preferences.page):
        for preference in known:
            contexts = await _read(database, user, context_rows.of, preference.id)
            yield _line("preference", _of_preference(preference, contexts))
    for version in await _read(database, user, versions.all_of):
        yield _line("adapter", await asyncio.to_thread(_of_version, directories, user, version))
    for member in await _read(database, user, cohorts.of):
        yield _line("cohort", asdict(member))
    async for work in _pages(database, user, job_list.page):
        yield b"".join(_line("job", asdict(one)) for one in work)
    for token in await _read(database, user, tokens.all_of, expired=True):
        yield _line("token", {name: value for name, value in vars(token).items() if name != "owner"})
    for day in await _read(database, user, usage.of_user, 0, _EVER):
        yield _line("day", {"day": day.day, **day.spent._asdict()})
    spent: Spent | None = None
    while answers := await _read(database, user, idempotency.page, after=spent, limit=PAGE):
        spent = answers[-1]
        yield b"".join(_line("spent_key", {"answer": one.answer, "spent_at": one.spent_at}) for one in answers)


_Trained = dict[str, Any] | None  # a row as a trainer reads it; none where media or nothing to learn is in it
FORMS: dict[str, tuple[Callable[..., list[Any]], Callable[[Any, bool], Iterable[_Trained]]]] = {
    # `messages`, for supervised training: the prompts and texts that the user's adapters learn from
    "sft": (edit_rows.edit_page, dataset.sft_rows),
    # `prompt`, `chosen` and `rejected`: what the user made of a draft, and the draft
    "preferences": (edit_rows.edit_page, lambda edit, _: [dataset.preference_row(edit)]),
    # `prompt`, `completion` and `label`, as KTO reads them: an answer, and whether its thumb was up
    "thumbs": (edit_rows.thumb_page, lambda thumb, _: [dataset.unpaired_row(thumb)]),
    # the same of ratings of whole answers: above the user's own median, or below it
    "ratings": (opinions.rating_page, lambda thumb, _: [dataset.unpaired_row(thumb)]),
    # `prompt`, `chosen` and `rejected`: the best of ranked answers, and each of the others
    "rankings": (opinions.ranking_page, lambda ranking, _: dataset.ranking_pairs(ranking)),
    # `prompt` and `completion`: requests, and the texts that the user sent or wrote
    "completions": (edit_rows.edit_page, lambda edit, _: dataset.completion_rows(edit)),
}
"""What rows are made of, and how, by form."""


async def training_rows(database: Database, user: User, form: str, *, system_role: bool) -> AsyncIterator[bytes]:
    """What was given as trainers read it: rows of one of ``FORMS``, each an object of JSON in a line."""
    page, rows_of = FORMS[form]
    if form == "ratings":
        page = partial(page, border=await _read(database, user, opinions.border))
    async for given in _pages(database, user, page):
        rows = (row for one in given for row in rows_of(one, system_role) if row is not None)
        yield b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)


@dataclass(frozen=True)
class Archive:
    """A tar file of some small files, and a large one that is read while it is sent. ``size`` is in bytes."""

    head: bytes
    large: Path
    large_size: int

    @property
    def size(self) -> int:
        """The length of the stream."""
        return len(self.head) + self.large_size + len(self._tail)

    async def stream(self) -> AsyncIterator[bytes]:
        """The file in pieces. Raises ``OSError`` when its user is erased before it begins."""
        with await asyncio.to_thread(self.large.open, "rb") as file:
            yield self.head
            while piece := await asyncio.to_thread(file.read, _PIECE):
                yield piece
        yield self._tail

    @property
    def _tail(self) -> bytes:
        return bytes(-self.large_size % tarfile.BLOCKSIZE + 2 * tarfile.BLOCKSIZE)


def adapter(directories: Directories, user: User, number: int, base_model: str) -> Archive:
    """A published version as a folder that ``peft`` loads, with the manifest of where it comes from.

    ``base_model`` is a name that means something elsewhere: training wrote down a path of this machine. Raises
    ``NotFound``.
    """
    folder = directories.local(user.opaque_id, number)
    manifest = directories.manifest(user.opaque_id, number)
    name, made = f"adapter-v{number}", int(manifest.created_at)
    try:
        config = json.loads((folder / CONFIG).read_text()) | {"base_model_name_or_path": base_model}
        size = (folder / WEIGHTS).stat().st_size
    except (OSError, ValueError) as error:
        raise NotFound(f"Adapter version {number} has no complete directory.", param="version") from error
    head = io.BytesIO()
    for file, content in ((CONFIG, config), (MANIFEST, asdict(manifest))):
        text = json.dumps(content, indent=2, sort_keys=True).encode()
        head.write(_header(f"{name}/{file}", len(text), made))
        head.write(text.ljust(len(text) + -len(text) % tarfile.BLOCKSIZE, b"\0"))
    head.write(_header(f"{name}/{WEIGHTS}", size, made))
    return Archive(head.getvalue(), folder / WEIGHTS, size)


def base_name(settings: Settings) -> str:
    """What to call the base model elsewhere: a hub's name, or the name it is served by, never a path."""
    folder = settings.model_folder
    return settings.model_source if folder is None else settings.model_name or folder.resolve().name


def write(settings: Settings, database: Database, directories: Directories, owner: Owner, folder: Path) -> list[Path]:
    """All forms of it as files in ``folder``, for this user of the machine alone; their paths. Raises ``NotFound``."""
    user = database.read_now(users.get, owner)
    if user is None:
        raise NotFound("Nothing is held about this user.", param="user")
    streams, system_role = {"all.jsonl": everything(database, directories, user)}, has_system_role(settings)
    streams |= {f"{form}.jsonl": training_rows(database, user, form, system_role=system_role) for form in FORMS}
    for version in database.read_now(versions.all_of, owner):
        if version.state == "ready":
            archive = adapter(directories, user, version.version, base_name(settings))
            streams[f"adapter-v{version.version}.tar"] = archive.stream()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name, stream in streams.items():
        with open(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            asyncio.run(_pour(stream, file.write))
    return [folder / name for name in streams]


async def _pour(stream: AsyncIterator[bytes], take: Callable[[bytes], object]) -> None:
    async for piece in stream:
        take(piece)


async def _read(database: Database, user: User, fn: Callable[..., T], *args: Any, **named: Any) -> T:
    """``fn(connection, owner, ...)`` about a user who is still the same. Raises ``NotFound``."""

    def read(c: Connection) -> T:
        held = users.get(c, user.owner)
        if held is None or held.opaque_id != user.opaque_id:
            raise NotFound("The user was erased meanwhile.", param="user")
        return fn(c, user.owner, *args, **named)

    return await database.read(read)


async def _pages(database: Database, user: User, page: Callable[..., list[Row]]) -> AsyncIterator[list[Row]]:
    """Rows of functions that take ``after``, the time of the row before."""
    after = 0.0
    while rows := await _read(database, user, page, after=after, limit=PAGE):
        yield rows
        after = rows[-1].created_at


def _line(kind: str, fields: dict[str, Any]) -> bytes:
    return json.dumps({"object": kind, **fields}, ensure_ascii=False).encode() + b"\n"


def _of_turn(turn: Turn) -> dict[str, Any]:
    return {**vars(turn), "applied_values": [value.model_dump() for value in turn.applied_values]}


def _of_preference(preference: Preference, contexts: list[Context]) -> dict[str, Any]:
    """``vector`` is base64 of float32, little endian, as in OpenAI's embeddings."""
    held = [{**vars(one), "vector": base64.b64encode(one.vector.astype("<f4").tobytes()).decode()} for one in contexts]
    return {**vars(preference), "contexts": held}


def _of_version(directories: Directories, user: User, version: Version) -> dict[str, Any]:
    try:
        manifest = asdict(directories.manifest(user.opaque_id, version.version))
    except NotFound:  # not made yet, refused, or deleted
        manifest = None
    return {**vars(version), "manifest": manifest}


def _header(name: str, size: int, made: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mtime, info.mode = size, made, 0o600
    return info.tobuf(tarfile.PAX_FORMAT)
