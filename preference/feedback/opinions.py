"""Ratings and rankings as trainers read them, and how far a user's two ways of judging agree.

They are kept apart: people rank answers otherwise than they rate them (Peering Through Preferences, arXiv 2308.15812,
finds that in three fifths of all pairs). So a rating is never turned into a ranking, nor the other way round.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median
from typing import Any

from sqlalchemy import Connection, Select, func, select

from preference.feedback import edit_rows
from preference.feedback.edit_rows import Thumb, thumb
from preference.feedback.given import bounds
from store import turns
from store.owner import Owner
from store.rows import scope
from store.tables import feedback
from store.turns import Turn


@dataclass(frozen=True)
class Ranking:
    """Answers to the request of ``turn``, each once, the best first."""

    feedback_id: str
    turn: Turn
    answers: Sequence[str]
    created_at: float


@dataclass(frozen=True)
class Consistency:
    """Pairs of answers that a user both ranked and rated: how many of them both order alike."""

    pairs: int = 0
    agree: int = 0
    disagree: int = 0
    tied: int = 0


def rankings(c: Connection, owner: Owner, *, limit: int = 2000) -> list[Ranking]:
    """The newest ``limit`` rankings that stand, oldest first."""
    return [_ranking(row) for row in edit_rows.newest(c, edit_rows.standing(owner, "ranking"), limit)]


def ranking_page(c: Connection, owner: Owner, *, after: float = 0.0, limit: int = 500) -> list[Ranking]:
    """The next of these created after ``after``, oldest first: for the export."""
    return [_ranking(row) for row in edit_rows.following(c, edit_rows.standing(owner, "ranking"), after, limit)]


def rated(c: Connection, owner: Owner, *, limit: int = 2000) -> list[Thumb]:
    """Answers that the user rated as a whole, oldest first: up above the user's own median, down below it.

    What is rated as the median says neither. Scales are brought to one first.
    """
    rows = edit_rows.newest(c, _of_answers(owner), limit)
    return _beside(rows, _median(row["feedback_content"] for row in rows))


def border(c: Connection, owner: Owner, *, limit: int = 100_000) -> float:
    """The user's own median of the newest ``limit`` ratings of whole answers, in [0, 1]."""
    query = select(feedback.c.content).where(scope(feedback, owner), feedback.c.type == "rating")
    query = query.where(feedback.c.slot.is_(None), feedback.c.status != "replaced", feedback.c.weight > 0)
    return _median(c.execute(query.order_by(feedback.c.created_at.desc()).limit(limit)).scalars())


def rating_page(c: Connection, owner: Owner, *, border: float, after: float = 0.0, limit: int = 500) -> list[Thumb]:
    """The next of these created after ``after``, oldest first, beside ``border``: for the export. Empty at the end."""
    while rows := edit_rows.following(c, _of_answers(owner), after, limit):
        if found := _beside(rows, border):
            return found
        after = rows[-1]["feedback_created_at"]
    return []


def counts(c: Connection, owner: Owner) -> dict[str, int]:
    """How many of each type stand."""
    query = select(feedback.c.type, func.count()).where(scope(feedback, owner), feedback.c.status != "replaced")
    return {type: count for type, count in c.execute(query.group_by(feedback.c.type))}


def consistency(c: Connection, owner: Owner, *, limit: int = 500) -> Consistency:
    """Of the newest ``limit`` rankings, those pairs whose answers were both rated."""
    newest = select(feedback.c.content).where(scope(feedback, owner), feedback.c.status != "replaced")
    ranked = newest.where(feedback.c.type == "ranking").order_by(feedback.c.created_at.desc()).limit(limit)
    pairs = []
    for content in c.execute(ranked).scalars():
        places = [(one["completion_id"], one["choice"]) for one in content["ranking"]]
        pairs += list(combinations(places, 2))
    heights = _heights(c, owner, {id for pair in pairs for id, _ in pair})
    found = [(heights[a], heights[b]) for a, b in pairs if a in heights and b in heights]
    agree, disagree = sum(a > b for a, b in found), sum(a < b for a, b in found)
    return Consistency(len(found), agree, disagree, len(found) - agree - disagree)


def _heights(c: Connection, owner: Owner, ids: set[str]) -> dict[tuple[str, int], float]:
    """How high answers were rated, in [0, 1]."""
    query = select(feedback.c.completion_id, feedback.c.choice, feedback.c.content)
    query = query.where(scope(feedback, owner), feedback.c.type == "rating", feedback.c.status != "replaced")
    rows = c.execute(query.where(feedback.c.slot.is_(None), feedback.c.completion_id.in_(sorted(ids))))
    return {(id, choice): _height(content) for id, choice, content in rows}


def _height(content: Mapping[str, Any]) -> float:
    least, most = bounds(content["scale"])
    return float((content["rating"] - least) / (most - least))


def _median(contents: Iterable[Mapping[str, Any]]) -> float:
    """How high the middle one of some ratings is; 0 of none."""
    return median(list(map(_height, contents)) or [0.0])


def _of_answers(owner: Owner) -> Select[Any]:
    """The query of standing ratings of whole answers."""
    return edit_rows.standing(owner, "rating").where(feedback.c.slot.is_(None))


def _ranking(row: Mapping[Any, Any]) -> Ranking:
    texts = list(dict.fromkeys(one["text"] for one in row["feedback_content"]["ranking"]))
    return Ranking(row["feedback_id"], turns.of_row(row), texts, row["feedback_created_at"])


def _beside(rows: Sequence[Mapping[Any, Any]], border: float) -> list[Thumb]:
    heights = [_height(row["feedback_content"]) for row in rows]
    return [thumb(row, height > border) for row, height in zip(rows, heights, strict=True) if height != border]
