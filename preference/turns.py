"""Rows of ``turns``: one personalised generation each, with its provenance."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, String, and_, bindparam, cast, delete, exists, insert, or_, select, tuple_, update
from sqlalchemy.exc import IntegrityError, StatementError

from preference import users
from preference.errors import Conflict, Invalid, NotFound
from preference.owner import Owner
from preference.prompt import Message
from preference.rows import checked, findable, key, scope
from preference.shortcut import Shortcut
from preference.tables import feedback, turns
from preference.tables import users as users_table
from preference.values import Value

REDACTED = "- [erased]"
"""The line that stands in a prompt where an erased preference stood."""
_OWNER = {name: bindparam(name, type_=turns.c[name].type) for name in ("tenant_id", "user_id")}
_OPAQUE_ID = bindparam("opaque_id", type_=users_table.c.opaque_id.type)
# Made once: each request stores a turn. The user's row is held, so that it is not erased meanwhile.
_RECORD = (
    insert(turns)
    .from_select(
        [column.name for column in turns.columns],
        select(*(_OWNER.get(column.name, bindparam(column.name, type_=column.type)) for column in turns.columns))
        .select_from(users_table)
        .where(users_table.c.tenant_id == _OWNER["tenant_id"], users_table.c.user_id == _OWNER["user_id"])
        .where(or_(_OPAQUE_ID.is_(None), users_table.c.opaque_id == _OPAQUE_ID))
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


def record(c: Connection | Shortcut, owner: Owner, turn: Turn, opaque_id: str | None = None) -> None:
    """Store a turn of the user, who has to be ``opaque_id`` still (if given), not one made anew after an erasure.

    Raises ``NotFound`` when that user was deleted meanwhile, ``Conflict`` for a known id.
    """
    checked(turn.completion_id, "completion_id", 128)
    checked(turn.model, "model", 512)
    values = {
        **{name: getattr(turn, name) for name in Turn.__dataclass_fields__},
        "request": list(turn.request),
        "prompt": list(turn.prompt),
        "answers": list(turn.answers),
        "applied_values": [value.model_dump() for value in turn.applied_values],
        "applied_preferences": [dict(applied) for applied in turn.applied_preferences],
    }
    try:
        stored = c.execute(_RECORD, {**key(owner), **values, "opaque_id": opaque_id}).rowcount
    except IntegrityError as error:
        raise Conflict(f"the completion {turn.completion_id} is already recorded", param="completion_id") from error
    except (StatementError, ValueError) as error:  # SQLAlchemy wraps what is raised for SQLite, not for psycopg
        if isinstance(error, ValueError) or isinstance(error.orig, ValueError):  # NaN or infinity, which JSON has not
            raise Invalid("messages must be JSON values", param="messages") from error
        raise
    if not stored:
        raise NotFound("there is no such user", param="user")


def get(c: Connection, owner: Owner, completion_id: str) -> Turn:
    """The turn. Raises ``NotFound`` for an id unknown to this owner."""
    query = select(turns).where(scope(turns, owner), turns.c.completion_id == completion_id)
    row = c.execute(query).mappings().first() if findable(completion_id) else None
    if row is None:
        raise NotFound(f"there is no completion {completion_id!r} of this user", param="completion_id")
    return of_row(row)


def page(c: Connection, owner: Owner, *, after: Turn | None = None, limit: int = 500) -> list[Turn]:
    """The next turns after ``after``, oldest first: for the export."""
    query = select(turns).where(scope(turns, owner)).order_by(turns.c.created_at, turns.c.completion_id).limit(limit)
    if after is not None:
        position = tuple_(turns.c.created_at, turns.c.completion_id)
        query = query.where(position > (after.created_at, after.completion_id))
    return [of_row(row) for row in c.execute(query).mappings()]


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
            this = turns.c.completion_id == row["completion_id"]
            c.execute(update(turns).where(scope(turns, owner), this).values(**values))


def _without(said: Any, line: str) -> Any:
    """A value of JSON without a line of its texts."""
    if isinstance(said, str):
        return "\n".join(REDACTED if one == line else one for one in said.split("\n"))
    if isinstance(said, dict):
        return {name: _without(one, line) for name, one in said.items()}
    return [_without(one, line) for one in said] if isinstance(said, list) else said


def prune(c: Connection, owner: Owner, before: float, limit: int) -> int:
    """Delete up to ``limit`` turns older than ``before`` that no standing feedback refers to; how many."""
    if not users.lock(c, owner):  # feedback on one of them may be coming in
        return 0
    about = and_(feedback.c.completion_id == turns.c.completion_id, feedback.c.status != "replaced")
    kept = exists().where(scope(feedback, owner), about)
    old = select(turns.c.completion_id).where(scope(turns, owner), turns.c.created_at < before, ~kept)
    ids = list(c.execute(old.order_by(turns.c.created_at).limit(limit)).scalars())
    c.execute(delete(turns).where(scope(turns, owner), turns.c.completion_id.in_(ids)))
    return len(ids)


def of_row(row: Mapping[Any, Any]) -> Turn:
    """The turn in a row that has the columns of ``turns``."""
    values = {name: row[name] for name in Turn.__dataclass_fields__}
    values["applied_values"] = [Value.model_validate(value) for value in row["applied_values"]]
    return Turn(**values)
