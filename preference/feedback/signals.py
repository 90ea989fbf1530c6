"""What users do with answers, as far as it says something of the preferences that the answers were written by.

A signal is cheap to give and to fake. So it makes no preference, ends none, and adds no context: it weighs, within
bounds, what edits said (``evidence.FAVOUR``). However many there are, no more than that comes of them.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, select

from preference import preferences
from store.errors import NotFound
from store.feedback_kinds import PASSING
from store.owner import Owner
from store.rows import scope
from store.tables import feedback, turns
from store.turns import get

SAYS: Mapping[str, float] = {"accepted": 0.5, "sent": 0.5, "copied": 0.25, "regenerated": -0.25, "discarded": -0.5}
"""What each says for the preferences of its answer."""
OF_ANSWER = 0.5
"""What all signals of one answer say at most."""
OUTCOME = 0.25
"""What an outcome says that is a standard deviation better than what else explains it; two at most."""
MODEL = 0.5
"""What a model says counts so much."""
FULL = 4.0
"""The sum at which signals have said all that they can."""
LOOKED_AT = 200
"""So many of the newest signals and outcomes are added up."""


def weigh(c: Connection, owner: Owner, completion_id: str) -> None:
    """Add up anew what signals say of the preferences that an answer was written by."""
    try:
        turn = get(c, owner, completion_id)
    except NotFound:  # too old
        return
    set_favour(c, owner, [one["id"] for one in turn.applied_preferences])


def set_favour(c: Connection, owner: Owner, ids: Sequence[str]) -> None:
    """Add up anew what signals and outcomes say of these preferences; those that are gone are left out."""
    if not ids:
        return
    said = _said(c, owner)
    for id in sorted(ids):
        try:
            preferences.favour(c, owner, id, max(-1.0, min(1.0, said.get(id, 0.0) / FULL)))
        except NotFound:
            continue


def _said(c: Connection, owner: Owner) -> dict[str, float]:
    """The sum for each preference, by its id."""
    columns = (feedback.c.type, feedback.c.content, feedback.c.source, feedback.c.weight, feedback.c.completion_id)
    of_turn = turns.c.completion_id == feedback.c.completion_id
    query = select(*columns, turns.c.applied_preferences).join(turns, of_turn)
    query = query.where(scope(feedback, owner), scope(turns, owner), feedback.c.status != "replaced")
    query = query.where(feedback.c.type.in_(PASSING))
    of_answer: dict[str, float] = defaultdict(float)
    applied: dict[str, Sequence[Mapping[str, Any]]] = {}
    for row in c.execute(query.order_by(feedback.c.created_at.desc()).limit(LOOKED_AT)).mappings():
        share = row["weight"] * (MODEL if row["source"] == "model" else 1.0)
        of_answer[row["completion_id"]] += share * says(row["type"], row["content"])
        applied[row["completion_id"]] = row["applied_preferences"]
    said: dict[str, float] = defaultdict(float)
    for completion_id, sum in of_answer.items():
        for one in applied[completion_id]:
            said[one["id"]] += max(-OF_ANSWER, min(OF_ANSWER, sum))
    return said


def says(type: str, content: Mapping[str, Any]) -> float:
    """What one signal says, or one outcome, whose ``adjusted`` is in standard deviations."""
    if type == "signal":
        return SAYS.get(content["signal"], 0.0)
    return OUTCOME * max(-2.0, min(2.0, content.get("adjusted") or 0.0))
