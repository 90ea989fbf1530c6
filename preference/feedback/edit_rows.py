"""Rows of edits and thumbs beside their turns: what learning and training read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, func, select

from preference.distance import normalised_distance
from store import turns
from store.feedback_kinds import TEXTS, Type
from store.owner import Owner
from store.rows import scope
from store.tables import feedback
from store.tables import turns as turns_table
from store.turns import Turn


@dataclass(frozen=True)
class Edit:
    """An edit beside the turn it belongs to: what learning and training read.

    Of a ``comment`` the edited text is the draft. ``weight`` is in [0, 1].
    """

    feedback_id: str
    turn: Turn
    draft: str
    edited_text: str
    cost: float
    created_at: float
    comment: str | None = None
    source: str = "user"
    weight: float = 1.0


@dataclass(frozen=True)
class Thumb:
    """A thumb, up or down, beside the turn whose ``answer`` it is about: what training reads."""

    feedback_id: str
    turn: Turn
    answer: str
    up: bool
    created_at: float


def edits(c: Connection, owner: Owner, *, limit: int = 2000) -> list[Edit]:
    """The newest ``limit`` edits, oldest first; without replaced ones, those without weight, and those of cut answers.

    A demonstration counts as an edit of what would have been answered.
    """
    return [_edit(row) for row in newest(c, standing(owner, *TEXTS), limit)]


def edit_page(c: Connection, owner: Owner, *, after: float = 0.0, limit: int = 500) -> list[Edit]:
    """The next of these edits created after ``after``, oldest first: for the export."""
    return [_edit(row) for row in following(c, standing(owner, *TEXTS), after, limit)]


def thumbs(c: Connection, owner: Owner, *, limit: int = 2000) -> list[Thumb]:
    """The newest ``limit`` thumbs, oldest first; without the replaced ones and those of answers cut short."""
    return [thumb(row, row["feedback_thumb"] == "up") for row in newest(c, standing(owner, "thumbs"), limit)]


def thumb_page(c: Connection, owner: Owner, *, after: float = 0.0, limit: int = 500) -> list[Thumb]:
    """The next of these thumbs created after ``after``, oldest first: for the export."""
    rows = following(c, standing(owner, "thumbs"), after, limit)
    return [thumb(row, row["feedback_thumb"] == "up") for row in rows]


def pending(c: Connection, owner: Owner, id: str) -> Edit | None:
    """The edit with its turn while it still waits to be learned from, else None (resolved, replaced, or erased).

    A demonstration and a comment, too.
    """
    query = _of_turn(_with_turn(), owner).where(feedback.c.id == id, feedback.c.status == "pending")
    row = c.execute(query).mappings().first()
    return None if row is None else _edit(row)


def named(c: Connection, owner: Owner, ids: Sequence[str]) -> list[Edit]:
    """Those of ``ids`` that are standing edits, oldest first."""
    query = standing(owner, *TEXTS).where(feedback.c.id.in_(sorted(ids)))
    return [_edit(row) for row in c.execute(query.order_by(feedback.c.created_at)).mappings()]


def count_since(c: Connection, owner: Owner, created_at: float) -> int:
    """How many edits, as ``edits`` has them, are newer than ``created_at``."""
    edits = _standing(select(func.count()).select_from(feedback), owner, TEXTS)
    return int(c.execute(edits.where(feedback.c.created_at > created_at)).scalar_one())


def standing(owner: Owner, *types: Type) -> Select[Any]:
    """The query of what stands of these types, with weight, beside turns that were not cut short.

    A row has the columns of ``turns``, and those of the feedback as ``feedback_id`` and so on.
    """
    return _standing(_with_turn(), owner, types)


def newest(c: Connection, query: Select[Any], limit: int) -> Sequence[Mapping[Any, Any]]:
    """The newest ``limit`` rows of a query of ``standing``, oldest first."""
    return c.execute(query.order_by(feedback.c.created_at.desc()).limit(limit)).mappings().all()[::-1]


def following(c: Connection, query: Select[Any], after: float, limit: int) -> Sequence[Mapping[Any, Any]]:
    """The next rows of a query of ``standing`` created after ``after``, oldest first."""
    later = query.where(feedback.c.created_at > after).order_by(feedback.c.created_at)
    return c.execute(later.limit(limit)).mappings().all()


def _with_turn() -> Select[Any]:
    names = ("id", "choice", "edited_text", "cost", "thumb", "content", "source", "weight", "created_at")
    return select(turns_table, *(feedback.c[name].label(f"feedback_{name}") for name in names))


def _standing(query: Select[Any], owner: Owner, types: Sequence[Type]) -> Select[Any]:
    held = _of_turn(query, owner).where(feedback.c.type.in_(types), feedback.c.status != "replaced")
    return held.where(feedback.c.weight > 0, turns_table.c.partial.is_(False))


def _of_turn(query: Select[Any], owner: Owner) -> Select[Any]:
    of_turn = turns_table.c.completion_id == feedback.c.completion_id
    return query.join(turns_table, of_turn).where(scope(feedback, owner), scope(turns_table, owner))


def _edit(row: Mapping[Any, Any]) -> Edit:
    turn = turns.of_row(row)
    names = ("edited_text", "cost", "created_at", "source", "weight", "content")
    edited_text, cost, created_at, source, weight, content = (row[f"feedback_{name}"] for name in names)
    draft, comment = turn.answers[row["feedback_choice"]], (content or {}).get("comment")
    edited = draft if edited_text is None else edited_text
    if cost is None:  # its draft has been made since it was stored
        cost = normalised_distance(draft, edited)
    return Edit(row["feedback_id"], turn, draft, edited, cost, created_at, comment, source, weight)


def thumb(row: Mapping[Any, Any], up: bool) -> Thumb:
    """The thumb of a row of ``standing``, or what is one by a rating."""
    turn = turns.of_row(row)
    return Thumb(row["feedback_id"], turn, turn.answers[row["feedback_choice"]], up, row["feedback_created_at"])
