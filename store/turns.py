"""Rows of ``turns``: one personalised generation each, with its provenance."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    String,
    and_,
    bindparam,
    cast,
    delete,
    exists,
    false,
    func,
    insert,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.exc import IntegrityError, StatementError

from store import bytes_held, users
from store.errors import Conflict, Invalid, NotFound
from store.feedback_kinds import PASSING
from store.loop_connection import LoopConnection
from store.message import Message
from store.owner import Owner
from store.rows import between, checked, findable, key, scope
from store.tables import feedback, turns
from store.tables import users as users_table
from store.values import Value

REDACTED = "- [erased]"
"""The line that stands in a prompt where an erased preference stood."""
_OWNER = {name: bindparam(name, type_=turns.c[name].type) for name in ("tenant_id", "user_id")}
_SHORT = [
    turns.c.completion_id, turns.c.created_at, turns.c.model, turns.c.personalized, turns.c.adapter_version,
    turns.c.partial, turns.c.prompt_tokens, turns.c.completion_tokens,
]  # fmt: skip
"""What tells of a turn without a text of it."""
_TEXTS = ("request", "prompt", "answers", "applied_values", "applied_preferences")
_OPAQUE_ID = bindparam("opaque_id", type_=users_table.c.opaque_id.type)
# Made once: each request stores a turn. The user's row is held, so that it is not erased meanwhile.
_RECORD = (
    insert(turns)
    .from_select(
        [column.name for column in turns.columns],
        select(*(_OWNER.get(column.name, bindparam(column.name, type_=column.type)) for column in turns.columns))
        .select_from(users_table)
        .where(users_table.c.tenant_id == _OWNER["tenant_id"], users_table.c.user_id == _OWNER["user_id"])
        .where(or_(_OPAQUE_ID.is_(None), users_table.c.opaque_id == _OPAQUE_ID), users_table.c.paused == false())
        .with_for_update(of=users_table, key_share=True),
    )
    .execution_options(preserve_rowcount=True)
)


@dataclass(frozen=True)
class Turn:
    """What was asked, what the engine was sent, what it answered (one text a choice) and why it answered so."""

    completion_id: str
    created_at: float
    model: str
    request: Sequence[Message]
    prompt: Sequence[Message]
    prompt_sha256: str
    answers: Sequence[str]
    applied_values: Sequence[Value]
    applied_preferences: Sequence[Mapping[str, Any]]
    adapter_version: int
    personalized: str
    prompt_tokens: int
    completion_tokens: int
    partial: bool
    cut: bool = False
    client_id: str | None = None
    request_sha256: str | None = None
    first_token_ms: int | None = None  # from the request's arrival, as total_ms
    total_ms: int | None = None


def record(c: Connection | LoopConnection, owner: Owner, turn: Turn, opaque_id: str | None = None) -> None:
    """Store a turn of the user, who has to be ``opaque_id`` still (if given), not one made anew after an erasure.

    Raises ``NotFound`` when that user was deleted or paused learning meanwhile, ``Conflict`` for a known id.
    """
    checked(turn.completion_id, "completion_id", 128)
    checked(turn.model, "model", 512)
    if turn.client_id is not None:
        checked(turn.client_id, "attune.client_id", 128)
    values = {
        **vars(turn),
        "request": list(turn.request),
        "prompt": _difference(turn.request, turn.prompt),
        "answers": list(turn.answers),
        "applied_values": [value.model_dump() for value in turn.applied_values],
        "applied_preferences": [dict(applied) for applied in turn.applied_preferences],
    }
    values["bytes"] = bytes_held.size(*(values[name] for name in _TEXTS))
    try:
        stored = c.execute(_RECORD, {**key(owner), **values, "opaque_id": opaque_id}).rowcount
    except IntegrityError as error:
        raise Conflict(f"the completion {turn.completion_id} is already recorded", param="completion_id") from error
    except (StatementError, ValueError) as error:  # SQLAlchemy wraps what is raised for SQLite, not for psycopg
        if isinstance(error, ValueError) or isinstance(error.orig, ValueError):  # NaN or infinity, which JSON has not
            raise Invalid("messages must be JSON values", param="messages") from error
        raise
    if not stored:
        raise NotFound("there is no such user, or learning is paused", param="user")


def get(c: Connection, owner: Owner, completion_id: str) -> Turn:
    """The turn. Raises ``NotFound`` for an id unknown to this owner."""
    query = select(turns).where(_one(owner, completion_id))
    row = c.execute(query).mappings().first() if findable(completion_id) else None
    if row is None:
        raise NotFound(f"there is no completion {completion_id!r} of this user", param="completion_id")
    return of_row(row)


def named(c: Connection, owner: Owner, id: str) -> Turn:
    """The turn of this id, or else the newest that the app gave it as its own. Raises ``NotFound``."""
    try:
        return get(c, owner, id)
    except NotFound:
        query = select(turns).where(scope(turns, owner), turns.c.client_id == id)
        newest = query.order_by(turns.c.created_at.desc()).limit(1)
        row = c.execute(newest).mappings().first() if findable(id) else None
        if row is None:
            raise
        return of_row(row)


def page(c: Connection, owner: Owner, *, after: Turn | None = None, limit: int = 500) -> list[Turn]:
    """The next turns after ``after``, oldest first: for the export."""
    query = select(turns).where(scope(turns, owner)).order_by(turns.c.created_at, turns.c.completion_id).limit(limit)
    if after is not None:
        position = tuple_(turns.c.created_at, turns.c.completion_id)
        query = query.where(position > (after.created_at, after.completion_id))
    return [of_row(row) for row in c.execute(query).mappings()]


def newest(
    c: Connection,
    owner: Owner,
    *,
    after: tuple[float, str] | None = None,
    limit: int = 20,
    since: float | None = None,
    until: float | None = None,
    equal: Mapping[str, Any] = {},
) -> list[Mapping[str, Any]]:
    """The user's turns without their texts, the newest first, after a time and an id; ``equal`` are columns' values."""
    query = between(select(*_SHORT).where(scope(turns, owner)), turns.c.created_at, since, until)
    for name, value in equal.items():
        query = query if value is None else query.where(turns.c[name] == value)
    if after is not None:
        query = query.where(tuple_(turns.c.created_at, turns.c.completion_id) < after)
    rows = c.execute(query.order_by(turns.c.created_at.desc(), turns.c.completion_id.desc()).limit(limit))
    return [dict(row) for row in rows.mappings()]


def last_at(c: Connection, owner: Owner) -> float | None:
    """When the user's newest turn was made, or None."""
    return c.execute(select(func.max(turns.c.created_at)).where(scope(turns, owner))).scalar()


def last_with(c: Connection, owner: Owner, preference_id: str) -> float | None:
    """When a preference was last applied, as far as turns are held; None where it never was."""
    applied = cast(turns.c.applied_preferences, String).contains(preference_id, autoescape=True)
    newest = select(turns.c.created_at).where(scope(turns, owner), applied).order_by(turns.c.created_at.desc())
    return c.execute(newest.limit(1)).scalar() if findable(preference_id) else None


def redact(c: Connection, owner: Owner, ids: Collection[str]) -> None:
    """Take preferences out of the turns that they were applied to, and what they said then out of the prompts there."""
    for id in sorted(ids):
        applied = cast(turns.c.applied_preferences, String).contains(id, autoescape=True)
        for row in c.execute(select(turns).where(scope(turns, owner), applied)).mappings().all():
            left = [one for one in row["applied_preferences"] if one["id"] != id]
            if left == row["applied_preferences"]:  # an id that has this one in it
                continue
            prompt = row["prompt"]
            for one in row["applied_preferences"]:
                if one["id"] == id:
                    prompt = _without(prompt, f"- {one['text']}")
            values = {"prompt": prompt, "applied_preferences": left}
            c.execute(update(turns).where(_one(owner, row["completion_id"])).values(**values))


def _without(said: Any, line: str) -> Any:
    """A value of JSON without a line of its texts."""
    if isinstance(said, str):
        return "\n".join(REDACTED if one == line else one for one in said.split("\n"))
    if isinstance(said, dict):
        return {name: _without(one, line) for name, one in said.items()}
    return [_without(one, line) for one in said] if isinstance(said, list) else said


def _difference(request: Sequence[Message], prompt: Sequence[Message]) -> list[Any]:
    """``prompt`` without what ``request`` has: a number stands for one of its messages, as it is.

    ``[number, before, after]`` stands for a message whose content has these around it.
    """
    first = len(prompt) - len(request)  # 1 where a message of ours stands at the head
    return [_part(request, number - first, message) for number, message in enumerate(prompt)]


def _part(request: Sequence[Message], number: int, message: Message) -> Any:
    if not 0 <= number < len(request):
        return message
    asked = request[number]
    if message == asked:
        return number
    was, content = asked.get("content"), message.get("content")
    if not isinstance(was, str | list) or type(was) is not type(content) or {**message, "content": was} != asked:
        return message
    assert isinstance(was, str | list)
    assert isinstance(content, str | list)
    start = _find(content, was)
    return message if start < 0 else [number, content[:start], content[start + len(was) :]]


def _find(content: Any, was: Any) -> int:
    """Where ``was`` begins in ``content``, both texts or both lists of parts; -1 where it does not stand there."""
    if isinstance(content, str):
        return content.find(was)
    places = range(min(len(content) - len(was), 2) + 1)  # ours is one part on each side at most
    return next((start for start in places if content[start : start + len(was)] == was), -1)


def _whole(request: Sequence[Message], stored: Sequence[Any]) -> list[Message]:
    """The prompt of a ``_difference``. Messages are read as they are, as they were stored at first."""
    messages: list[Message] = []
    for part in stored:
        if isinstance(part, int):
            messages.append(request[part])
        elif isinstance(part, list):
            number, before, after = part
            messages.append({**request[number], "content": before + request[number]["content"] + after})
        else:
            messages.append(part)
    return messages


def answer(c: Connection, owner: Owner, completion_id: str, prompt: Sequence[Message], text: str, **more: Any) -> None:
    """Put in what would have been answered to a turn that was demonstrated. ``more`` are columns."""
    row = c.execute(select(turns.c.request).where(_one(owner, completion_id))).first()
    if row is not None:
        values = {"prompt": _difference(row.request, prompt), "answers": [text], "partial": False, **more}
        c.execute(update(turns).where(_one(owner, completion_id)).values(**values))


def delete_one(c: Connection, owner: Owner, completion_id: str) -> None:
    """Delete a turn that was demonstrated, with its demonstration."""
    c.execute(delete(turns).where(_one(owner, completion_id)))


def _one(owner: Owner, completion_id: str) -> ColumnElement[bool]:
    return and_(scope(turns, owner), turns.c.completion_id == completion_id)


def prune(c: Connection, owner: Owner, before: float, limit: int) -> int:
    """Delete up to ``limit`` turns older than ``before`` that no standing feedback refers to; how many.

    Signals and outcomes keep no turn: they go with it.
    """
    if not users.lock(c, owner):  # feedback on one of them may be coming in
        return 0
    passing = feedback.c.type.in_(PASSING)
    about = and_(feedback.c.completion_id == turns.c.completion_id, feedback.c.status != "replaced", ~passing)
    kept = exists().where(scope(feedback, owner), about)
    old = select(turns.c.completion_id).where(scope(turns, owner), turns.c.created_at < before, ~kept)
    ids = list(c.execute(old.order_by(turns.c.created_at).limit(limit)).scalars())
    c.execute(delete(feedback).where(scope(feedback, owner), passing, feedback.c.completion_id.in_(ids)))
    c.execute(delete(turns).where(scope(turns, owner), turns.c.completion_id.in_(ids)))
    return len(ids)


def of_row(row: Mapping[Any, Any]) -> Turn:
    """The turn in a row that has the columns of ``turns``."""
    values = {name: row[name] for name in Turn.__dataclass_fields__}
    values["prompt"] = _whole(row["request"], row["prompt"])
    values["applied_values"] = [Value.model_validate(value) for value in row["applied_values"]]
    return Turn(**values)
