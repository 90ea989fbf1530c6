"""Rows of an import, as people have them: our own, mem0's, Honcho's, Letta's, ChatGPT's, Open WebUI's.

A row is a value of JSON. Where a whole file is one document, it may come as one row. Everything in a row is data: a
field that is not looked at says nothing, and a text that is looked at is stored as a text.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from preference.imports import openwebui
from preference.imports.items import Format, Found, Item, Pair, Wish, Written
from preference.imports.memories import is_wish, parts
from store.errors import Invalid
from store.message import Message

ROLES = ("system", "developer", "user", "assistant", "tool")
_MOST_MESSAGES = 500
_CONTAINERS: Mapping[Format, tuple[str, ...]] = {
    "mem0": ("results", "memories"),
    "honcho": ("items", "conclusions"),
    "letta": ("blocks", "core_memory", "memory_blocks"),
    "chatgpt": ("memories",),
    "openwebui": ("feedbacks",),
}
"""Under which names a whole document has its rows."""
_PERSONA = ("persona", "system", "instructions", "tools")
"""Blocks of Letta's that say how the agent is, and not what is known of its human."""


def read(
    row: Any, format: Format | None = None, *, of: str | None = None, user: str | None = None, facts: bool = False
) -> Found:
    """What a row holds; without a ``format`` its keys tell it.

    Rows that name another user than ``of`` are skipped; Open WebUI's export, which has everybody's, also those of
    another than ``user``. Of memories those are taken that say how to write, with
    ``facts`` all. Raises ``Invalid`` naming the field.
    """
    format = detected(row) if format is None else format
    of = user if of is None and format == "openwebui" else of
    found: list[Item] = []
    skipped: list[str] = []
    for one in rows(row, format):
        read_one = _READERS[format](one, of, facts)
        found += read_one.items
        skipped += read_one.skipped
    return Found(found, skipped)


def detected(row: Any, *, contained: bool = True) -> Format:
    """The format that a row's keys tell, or where it holds rows those of the first. Raises ``Invalid``."""
    while isinstance(row, list) and row:
        row = row[0]
    if isinstance(row, str):
        return "chatgpt"
    if isinstance(row, dict):
        keys = row.keys()
        if {"type", "data", "snapshot"} <= keys or isinstance(row.get("chat"), dict):
            return "openwebui"
        if keys & {"final", "chosen", "preference", "messages", "object"} or {"request", "text"} <= keys:
            return "attune"
        if {"label", "value"} <= keys or keys & {"blocks", "core_memory", "memory_blocks"}:
            return "letta"
        if "content" in keys and keys & {"observer_id", "observed_id", "observer", "observed"}:
            return "honcho"
        if isinstance(row.get("memory"), str):
            return "mem0"
        for format, names in _CONTAINERS.items() if contained else ():
            if any(isinstance(row.get(name), list) and row[name] and _fits(row[name][0], format) for name in names):
                return format
        if isinstance(row.get("content"), str):
            return "chatgpt"
    raise Invalid("this is no row of a format that is known; name it in format", param="format")


def _fits(row: Any, format: Format) -> bool:
    try:
        return detected(row, contained=False) == format
    except Invalid:
        return False


def rows(row: Any, format: Format) -> Iterator[Any]:
    """The rows of a document of a format, or the one row that it is."""
    if isinstance(row, list):
        for one in row:
            yield from rows(one, format) if not isinstance(one, list) else (one,)
        return
    for name in _CONTAINERS.get(format, ()):
        if isinstance(row, dict) and isinstance(row.get(name), list):
            yield from row[name]
            return
    yield row


def _of_export(held: Mapping[str, Any]) -> Found:
    """A preference as it stands in our own export: what was learned applies to the kind it was learned in."""
    contexts = [one for one in held.get("contexts") or () if isinstance(one, dict) and one.get("weight", 1) > 0]
    if contexts:
        return Found([Wish(_text(held, "text"), _text(contexts[-1], "text"))])
    if held.get("source") == "learned":
        return Found(skipped=["preference: nothing speaks for it any more"])
    return Found([Wish(_text(held, "text"))])


def _attune(row: Any, of: str | None, facts: bool) -> Found:
    held = _object(row)
    if "object" in held:  # a line of our own export
        if held["object"] == "preference" and held.get("status", "active") == "active":
            return _of_export(held)
        return Found(skipped=[f"{str(held['object'])[:40]}: not taken from an export"])
    if "preference" in held:
        context = held.get("context")
        return Found([Wish(_text(held, "preference"), None if context is None else _text(held, "context"))])
    if "chosen" in held:  # rows of export?format=preferences, as DPO reads them
        return Found([Pair(_messages(held, "prompt"), _last(held, "rejected"), _last(held, "chosen"))])
    if "final" in held:
        return Found([Pair(_asked(held), _text(held, "draft"), _text(held, "final"))])
    if "text" in held:
        return Found([Written(_asked(held), _text(held, "text"))])
    messages = _messages(held, "messages")  # rows of export?format=sft
    if messages[-1]["role"] != "assistant" or len(messages) < 2:
        raise Invalid("give final beside draft, or text, or end messages with what the user wrote", param="text")
    return Found([Written(messages[:-1], _content(messages[-1], "messages"))])


def _mem0(row: Any, of: str | None, facts: bool) -> Found:
    held = _object(row)
    if of is not None and held.get("user_id") not in (None, of):
        return Found(skipped=["another user's"])
    return _memory(_text(held, "memory" if "memory" in held else "content"), facts)


def _honcho(row: Any, of: str | None, facts: bool) -> Found:
    held = _object(row)
    about = held.get("observed_id", held.get("observed"))
    if of is not None and about not in (None, of):
        return Found(skipped=["about another peer"])
    if held.get("level") == "contradiction":
        return Found(skipped=["a contradiction"])
    return _memory(_text(held, "content"), facts)


def _letta(row: Any, of: str | None, facts: bool) -> Found:
    held = _object(row)
    if held.get("label") in _PERSONA:
        return Found(skipped=[f"the block {held['label']}: about the agent"])
    if not str(held.get("value") or "").strip():
        return Found(skipped=["an empty block"])
    return _memory(_text(held, "value"), facts)


def _chatgpt(row: Any, of: str | None, facts: bool) -> Found:
    if isinstance(row, str):
        return _memory(row, facts)
    held = _object(row)
    if held.get("enabled") is False:
        return Found(skipped=["a memory that is switched off"])
    name = next((name for name in ("content", "memory", "text") if name in held), "content")
    return _memory(_text(held, name), facts)


def _openwebui(row: Any, of: str | None, facts: bool) -> Found:
    return openwebui.read(_object(row), of)


_READERS: Mapping[Format, Callable[[Any, str | None, bool], Found]] = {
    "attune": _attune,
    "mem0": _mem0,
    "honcho": _honcho,
    "letta": _letta,
    "chatgpt": _chatgpt,
    "openwebui": _openwebui,
}


def _memory(text: str, facts: bool) -> Found:
    said = parts(text)
    wishes = [one for one in said if facts or is_wish(one)]
    skipped = [f"says not how to write: {one[:60]}" for one in said if one not in wishes]
    return Found([Wish(one) for one in wishes], skipped)


def _object(row: Any) -> Mapping[str, Any]:
    if not isinstance(row, dict):
        raise Invalid("a row must be an object of JSON")
    return row


def _text(held: Mapping[str, Any], name: str) -> str:
    text = held.get(name)
    if not isinstance(text, str):
        raise Invalid(f"{name} must be a text", param=name)
    return text


def _asked(held: Mapping[str, Any]) -> list[Message]:
    """The request of a row: its messages, or one text of the user's."""
    if "messages" in held:
        return _messages(held, "messages")
    return [{"role": "user", "content": _text(held, "request")}]


def _messages(held: Mapping[str, Any], name: str) -> list[Message]:
    """The conversation under ``name``: roles and texts, and nothing else of its messages."""
    given = held.get(name)
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    if not isinstance(given, list) or not given or len(given) > _MOST_MESSAGES:
        raise Invalid(f"{name} must be 1 to {_MOST_MESSAGES} messages, or a text", param=name)
    messages = []
    for number, message in enumerate(given):
        if not isinstance(message, dict) or message.get("role") not in ROLES:
            raise Invalid(f"{name}.{number} must have one of the roles {', '.join(ROLES)}", param=f"{name}.{number}")
        messages.append({"role": message["role"], "content": _content(message, f"{name}.{number}.content")})
    return messages


def _content(message: Mapping[str, Any], param: str) -> str:
    content = message.get("content")
    if isinstance(content, list):
        texts = [part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str)]
        content = "\n".join(texts)
    if not isinstance(content, str):
        raise Invalid(f"{param} must be a text", param=param)
    return content


def _last(held: Mapping[str, Any], name: str) -> str:
    """The text of an answer that is a text or a conversation's end."""
    return _content(_messages(held, name)[-1], name)
