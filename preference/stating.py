"""A preference that the user states: a new one, or the one that says the same already."""

from sqlalchemy import Connection

from preference import context_rows, preferences
from preference.ports import Vectors
from preference.preferences import Preference
from store import users
from store.owner import Owner


def state(
    c: Connection,
    owner: Owner,
    text: str,
    *,
    context: str | None = None,
    embedder: str,
    vector: Vectors | None = None,
    limit: int,
) -> tuple[Preference, bool]:
    """The preference, and whether it is a new one. Without a ``context`` and its ``vector`` it holds in every request.

    A user not seen before is made. Raises ``Invalid`` (``text``, ``context``), ``Conflict`` at ``limit`` of them.
    """
    users.ensure(c, owner)
    users.lock(c, owner)
    found = preferences.alike(c, owner, text)
    stated = found or preferences.create(c, owner, text, "stated", limit=limit)
    contexts = context_rows.of(c, owner, stated.id)
    if context is None or vector is None:
        stated = preferences.widen(c, owner, stated.id) if contexts else stated
    elif found is None or (contexts and context not in [held.text for held in contexts]):
        context_rows.add(c, owner, stated.id, feedback_id=None, text=context, embedder=embedder, vector=vector)
    return preferences.get(c, owner, stated.id), found is None
