"""Items of an import as rows: pairs and own texts as demonstrations, wishes as stated preferences, judgements as given.

Each item counts once, however often it comes, also after what it made was deleted.
"""

import time
from dataclasses import dataclass, replace

from sqlalchemy import Connection

from preference import stating
from preference.distance import normalised_distance
from preference.feedback import demonstrations, given, submission
from preference.feedback.given import Given
from preference.imports.items import Item, Judged, Pair, Wish, Written, digest
from preference.ports import Vectors
from store import idempotency, turns, users
from store.errors import Invalid, NotFound
from store.owner import Owner
from store.rows import checked

_TAGS = ("import",)
_LONGEST_CONTEXT = 4000


@dataclass(frozen=True)
class Ready:
    """An item and what took time to find out about it: an edit's cost, a context's vector."""

    item: Item
    cost: float | None = None
    vector: Vectors | None = None


def prepare(item: Item, edit_limit: int) -> Ready:
    """What can be known of an item apart from a transaction, but for vectors. Raises ``Invalid`` naming the field."""
    if isinstance(item, Pair):
        for param, text in (("draft", item.draft), ("final", item.final)):
            checked(text, param, edit_limit)
        return Ready(item, cost=normalised_distance(item.draft, item.final))
    if isinstance(item, Written):
        checked(item.text, "text", edit_limit)
    if isinstance(item, Judged):
        checked(item.answer, "snapshot", edit_limit)
    if isinstance(item, Wish) and item.context is not None:
        checked(item.context, "context", _LONGEST_CONTEXT)
    return Ready(item)


def store(c: Connection, owner: Owner, ready: Ready, *, embedder: str, max_preferences: int) -> list[str]:
    """The types of what is new by it: nothing where it came before. Raises ``Invalid``, ``Conflict``."""
    item = ready.item
    if isinstance(item, Wish):
        return _state(c, owner, ready, item, embedder, max_preferences)
    users.ensure(c, owner)
    if isinstance(item, Judged):
        return _judge(c, owner, item)
    if isinstance(item, Pair):
        shown = given.demonstration(item.messages, item.final, draft=item.draft, cost=ready.cost, tags=_TAGS)
    else:
        shown = given.demonstration(item.messages, item.text, tags=_TAGS)
    return ["demonstration"] if _give(c, owner, shown, digest(item)) else []


def _state(c: Connection, owner: Owner, ready: Ready, wish: Wish, embedder: str, limit: int) -> list[str]:
    key = digest(wish)
    users.ensure(c, owner)
    if idempotency.answer_of(c, owner, f"import-{key}", key) is not None:
        return []
    _, is_new = stating.state(
        c, owner, wish.text, context=wish.context, embedder=embedder, vector=ready.vector, limit=limit
    )
    idempotency.spend(c, owner, f"import-{key}", key, {})
    return ["preference"] if is_new else []


def _judge(c: Connection, owner: Owner, judged: Judged) -> list[str]:
    """What the user said of an answer: of this server's own, where it gave it, else of one that is taken in."""
    key = digest(judged)
    said: list[Given] = []
    if judged.thumb is not None:
        said.append(Given("thumbs", thumb=judged.thumb, tags=_TAGS))
    if judged.rating is not None:
        said.append(given.rating(judged.rating, scale="1-10", tags=_TAGS))
    if judged.comment is not None:
        said.append(given.comment(judged.comment[: given.MAX_COMMENT], tags=_TAGS))
    new: list[str] = []
    for one in said:
        try:
            id = _turn(c, owner, judged, key)
            is_new = _give(c, owner, replace(one, completion_id=id), f"{key}-{one.type}")
        except NotFound as error:
            raise Invalid(error.message, param=error.param) from error
        new += [one.type] if is_new else []
    return new


def _turn(c: Connection, owner: Owner, judged: Judged, key: str) -> str:
    """The id of the turn that is judged; it is stored first where the answer was another server's."""
    for id in (judged.message_id, f"import-{key}"):
        if id:
            try:
                return turns.named(c, owner, id).completion_id
            except NotFound:
                continue
    return demonstrations.record(c, owner, judged.messages, judged.answer, f"import-{key}")


def _give(c: Connection, owner: Owner, what: Given, key: str) -> bool:
    """Whether it is new."""
    began = time.time()
    held = submission.give(c, owner, what, idempotency_key=f"import-{key}", body_sha256=key[:64])
    return held.created_at >= began
