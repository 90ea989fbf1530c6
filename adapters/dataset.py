"""From a user's edits to training rows and held-out rows, split by time. Pure."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from preference.errors import Invalid
from preference.feedback import Edit
from preference.prompt import Message, compose
from preference.values import Value

MIN_EDITS = 8
"""Fewer edits than this cannot both teach and test."""
MAX_EDITS = 400
"""Only so many of the newest edits are used: tastes change and training time is bounded."""
MIN_HELD_OUT, MAX_HELD_OUT, HELD_OUT_SHARE = 4, 48, 0.2


class TooFewEdits(Invalid):
    """There are so many ``edits`` that can be learned from, and more are needed."""

    def __init__(self, edits: int) -> None:
        super().__init__(_too_few(edits))
        self.edits = edits


@dataclass(frozen=True)
class HeldOut:
    """One edit that training never sees: what was asked, what applied to it, and what the user made of the answer."""

    feedback_id: str
    request: tuple[Message, ...]
    values: tuple[Value, ...]
    preferences: tuple[str, ...]
    adapter_version: int
    target: str
    system_role: bool = True

    def messages(self, with_preferences: bool) -> list[Message]:
        """The prompt as it is served, with or without the preferences that were applied to the turn."""
        return compose(self.request, self.values, self.preferences if with_preferences else (), self.system_role)


@dataclass(frozen=True)
class Dataset:
    """Training rows as ``recipes/`` describes them, held-out edits, and which edits the rows came from."""

    rows: list[dict[str, Any]]
    held_out: list[HeldOut]
    learned_from: list[str]
    learned_through: float


def build(edits: Sequence[Edit], *, seed: int = 0, system_role: bool = True) -> Dataset:
    """Split ``edits`` (oldest first) by time, hold the newest out, and make rows of the rest.

    An edit gives a row with the prompt as the adapter alone is served, and one with the turn's preferences where
    it had any; both say what was changed about the draft. The first also has the prompt under values that the user
    stated elsewhere. Accepted answers (edits of no cost) count too: they say what is right. Raises ``TooFewEdits``
    below ``MIN_EDITS`` edits.
    """
    usable = [edit for edit in edits if _is_text(edit.turn.request)][-MAX_EDITS:]
    if len(usable) < MIN_EDITS:
        raise TooFewEdits(len(usable))
    held = min(MAX_HELD_OUT, max(MIN_HELD_OUT, math.ceil(HELD_OUT_SHARE * len(usable))))
    training, newest = usable[:-held], usable[-held:]
    stated = list(dict.fromkeys(tuple(edit.turn.applied_values) for edit in training if edit.turn.applied_values))
    rows = [row for edit in training for row in _rows(edit, system_role, stated)]
    random.Random(seed).shuffle(rows)
    return Dataset(
        rows=rows,
        held_out=[_held_out(edit, system_role) for edit in newest],
        learned_from=[edit.feedback_id for edit in training],
        learned_through=training[-1].created_at,
    )


def told(edits: int) -> dict[str, Any]:
    """What a version's report says of so many edits, before anything is spent on them."""
    report: dict[str, Any] = {"edits": edits, "edits_needed": MIN_EDITS}
    return report if edits >= MIN_EDITS else {**report, "notice": _too_few(edits)}


def sft_rows(edit: Edit, system_role: bool = True) -> list[dict[str, list[Message]]]:
    """An edit as TRL's conversations, ``messages``: the prompts and the text that training reads; none for media."""
    rows = _rows(edit, system_role) if _is_text(edit.turn.request) else []
    return [{"messages": row["prompt"] + row["completion"]} for row in rows]


def preference_row(edit: Edit) -> dict[str, list[Message]] | None:
    """An edit as TRL's preference pair, ``prompt``, ``chosen`` and ``rejected``, of conversations.

    The prompt is the one that the draft was an answer to. None for media, and where the draft was right.
    """
    if edit.draft == edit.edited_text or not _is_text(edit.turn.request):
        return None
    prompt = edit.turn.prompt
    chosen, rejected = ([{"role": "assistant", "content": text}] for text in (edit.edited_text, edit.draft))
    return {"prompt": [plain(m) for m in prompt], "chosen": chosen, "rejected": rejected}


def _too_few(edits: int) -> str:
    return f"{edits} edits are too few to learn from: at least {MIN_EDITS} are needed."


def _rows(edit: Edit, system_role: bool, stated: Sequence[tuple[Value, ...]] = ()) -> list[dict[str, Any]]:
    asked = _held_out(edit, system_role)
    prompts = [asked.messages(with_preferences=False)]
    if asked.preferences:
        prompts.append(asked.messages(with_preferences=True))
    answer: dict[str, Any] = {"completion": [{"role": "assistant", "content": edit.edited_text}]}
    if edit.draft != edit.edited_text:
        answer |= {"rejected": [{"role": "assistant", "content": edit.draft}], "cost": edit.cost}
    rows = [{"prompt": [plain(m) for m in prompt], **answer} for prompt in prompts]
    if asked.values in stated and len(stated) > 1:
        other = stated[stated.index(asked.values) - 1]
        rows[0]["contrast"] = [plain(m) for m in replace(asked, values=other).messages(with_preferences=False)]
    return rows


def _held_out(edit: Edit, system_role: bool) -> HeldOut:
    return HeldOut(
        feedback_id=edit.feedback_id,
        request=tuple(edit.turn.request),
        values=tuple(edit.turn.applied_values),
        preferences=tuple(str(preference["text"]) for preference in edit.turn.applied_preferences),
        adapter_version=edit.turn.adapter_version,
        target=edit.edited_text,
        system_role=system_role,
    )


def _is_text(messages: Sequence[Message]) -> bool:
    """Whether every message is plain text: pictures, sound and tool calls cannot be learned from here."""
    return all(
        not message.get("tool_calls") and all(part.get("type") == "text" for part in _parts(message.get("content")))
        for message in messages
    )


def _parts(content: Any) -> list[dict[str, Any]]:
    return content if isinstance(content, list) else []


def plain(message: Message) -> Message:
    """Role and text alone, parts joined by line breaks as the engine does for templates that take strings."""
    content = message.get("content")
    text = "\n".join(part["text"] for part in content) if isinstance(content, list) else content
    return {"role": message["role"], "content": text or ""}
