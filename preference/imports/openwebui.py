"""Open WebUI's exports: ratings (Admin, Evaluations, Feedback) and chats, in which edited answers keep their draft."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from preference.imports.items import Found, Item, Judged, Pair
from store.errors import Invalid
from store.message import Message

_DEEPEST = 500
"""Messages before an answer."""
_THUMBS: Mapping[str, Literal["up", "down"]] = {"1": "up", "-1": "down"}


def read(row: Mapping[str, Any], of: str | None) -> Found:
    """The judgements and edits of a row. Rows of another user than ``of`` are skipped. Raises ``Invalid``."""
    if of is not None and row.get("user_id") not in (None, of):
        return Found(skipped=["another user's"])
    if "data" not in row:
        items: list[Item] = [*_edits(_history(row.get("chat")))]
        return Found(items, [] if items else ["a chat without an edited answer"])
    if row.get("type") != "rating":
        return Found(skipped=["feedback that is no rating"])
    snapshot = row.get("snapshot")
    history = _history(snapshot.get("chat") if isinstance(snapshot, dict) else None)
    meta = row.get("meta")
    message_id = meta.get("message_id") if isinstance(meta, dict) else None
    answer = history.get(message_id) if isinstance(message_id, str) else None
    if not isinstance(answer, dict) or not isinstance(answer.get("content"), str):
        raise Invalid("the rated answer is not in snapshot", param="snapshot")
    asked = _before(history, answer)
    if not any(message["role"] == "user" for message in asked):
        raise Invalid("snapshot has no request of the user before the rated answer", param="snapshot")
    draft = answer.get("originalContent")
    draft = draft if isinstance(draft, str) else answer["content"]
    judged = _judged(row["data"], asked, draft, message_id)
    return Found([*judged, *_edit(asked, answer)])


def _judged(data: Any, asked: list[Message], answer: str, message_id: Any) -> list[Judged]:
    if not isinstance(data, dict):
        raise Invalid("data must be an object", param="data")
    thumb = _THUMBS.get(str(data.get("rating")))
    rating = (data.get("details") or {}).get("rating") if isinstance(data.get("details"), dict | None) else None
    if rating is not None and (not isinstance(rating, int) or not 1 <= rating <= 10):
        raise Invalid("data.details.rating must be from 1 to 10", param="data.details.rating")
    if thumb is None and rating is None:
        raise Invalid("data.rating must be 1 or -1", param="data.rating")
    comment = data.get("comment")
    said = comment if isinstance(comment, str) and comment.strip() else None
    return [Judged(asked, answer, str(message_id), thumb, rating, said)]


def _edits(history: Mapping[str, Any]) -> Iterator[Pair]:
    for message in history.values():
        answers = isinstance(message, dict) and message.get("role") == "assistant"
        if answers and message.get("originalContent") != message.get("content"):
            yield from _edit(_before(history, message), message)


def _edit(asked: list[Message], answer: Mapping[str, Any]) -> Iterator[Pair]:
    """What the user made of an answer, where they edited it in place."""
    draft, final = answer.get("originalContent"), answer.get("content")
    if isinstance(draft, str) and isinstance(final, str) and draft.strip() and final.strip() and draft != final:
        yield Pair(asked, draft, final)


def _history(chat: Any) -> Mapping[str, Any]:
    """The messages of a chat by their ids."""
    inner = chat.get("chat", chat) if isinstance(chat, dict) else None
    history = inner.get("history") if isinstance(inner, dict) else None
    messages = history.get("messages") if isinstance(history, dict) else None
    if not isinstance(messages, dict):
        raise Invalid("chat.history.messages must be an object", param="chat")
    return messages


def _before(history: Mapping[str, Any], answer: Mapping[str, Any]) -> list[Message]:
    """The messages that led to an answer, oldest first."""
    found: list[Message] = []
    seen = set()
    parent = answer.get("parentId")
    while isinstance(parent, str) and parent not in seen and len(found) < _DEEPEST:
        seen.add(parent)
        message = history.get(parent)
        if not isinstance(message, dict):
            break
        if message.get("role") in ("user", "assistant", "system") and isinstance(message.get("content"), str):
            found.append({"role": message["role"], "content": message["content"]})
        parent = message.get("parentId")
    return found[::-1]
