"""The one layout of a personalised prompt, shared by serving, training, the gate and the lab.

``[caller's system message] [values block] [history] [last user message + preferences block]``: what changes
least comes first, so vLLM's prefix cache keeps it. The blocks hold no clock and no id, and equal input gives
equal bytes. Nothing the caller wrote is changed; ours is appended after a blank line, in a named tag.
"""

from collections.abc import Sequence
from typing import Any

from preference.text import as_data
from preference.values import as_line
from store.message import Message
from store.values import Value


def values_block(values: Sequence[Value]) -> str:
    """The values as a tagged list; empty without values."""
    return _block("values", "What this user values:", [as_line(value) for value in values])


def preferences_block(preferences: Sequence[str]) -> str:
    """The preferences as a tagged list, in the order given; empty without preferences."""
    return _block("preferences", "What this user prefers in answers like this one:", [as_data(p) for p in preferences])


def compose(
    messages: Sequence[Message],
    values: Sequence[Value] = (),
    preferences: Sequence[str] = (),
    system_role: bool = True,
    part: str = "text",
) -> list[Message]:
    """The messages as the engine gets them; the input is left untouched.

    With ``system_role=False`` (a chat template that has none) the values go before the last user message's
    text. Without a user message there is nothing to answer in a user's way and preferences are left out. ``part`` is
    the type of a text part where a message's content is a list of parts.
    """
    composed = [dict(message) for message in messages]
    stated = values_block(values)
    if stated and system_role:
        if composed and composed[0].get("role") in ("system", "developer"):
            composed[0]["content"] = _append(composed[0].get("content"), stated, part)
        else:
            composed.insert(0, {"role": "system", "content": stated})
    last = next((m for m in reversed(composed) if m.get("role") == "user"), None)
    if last is not None:
        if stated and not system_role:
            last["content"] = _prepend(last.get("content"), stated, part)
        if preferences:
            last["content"] = _append(last.get("content"), preferences_block(preferences), part)
    return composed


def last_user_text(messages: Sequence[Message]) -> str:
    """The text of the last user message: the context that preferences are recalled by."""
    for message in reversed(messages):
        if message.get("role") == "user":
            content = message.get("content")
            if isinstance(content, str):
                return content
            return "\n".join(part["text"] for part in content or () if part.get("type") == "text")
    return ""


def _block(tag: str, heading: str, lines: list[str]) -> str:
    items = [f"- {line}" for line in lines if line]
    return "\n".join([f"<{tag}>", heading, *items, f"</{tag}>"]) if items else ""


def _append(content: Any, block: str, part: str) -> Any:
    if isinstance(content, list):
        return [*content, {"type": part, "text": block}]
    return f"{content}\n\n{block}" if content else block


def _prepend(content: Any, block: str, part: str) -> Any:
    if isinstance(content, list):
        return [{"type": part, "text": block}, *content]
    return f"{block}\n\n{content}" if content else block
