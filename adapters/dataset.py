"""From a user's edits, thumbs and rankings to training rows and held-out rows, split by time. Pure."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from preference.distance import normalised_distance
from preference.feedback.edit_rows import Edit, Thumb
from preference.feedback.opinions import Ranking
from preference.prompt import compose
from store.errors import Invalid
from store.message import Message
from store.turns import Turn
from store.values import Value

MIN_EDITS = 8
"""Fewer edits than this cannot both teach and test."""
MAX_EDITS = 400
"""Only so many of the newest edits are used: tastes change and training time is bounded."""
MAX_THUMBS = 400
"""And so many of the newest thumbs, and of the newest ratings."""
MAX_RANKINGS = 200
"""And so many of the newest rankings."""
MIN_HELD_OUT, MAX_HELD_OUT, HELD_OUT_SHARE = 4, 60, 0.2
T = TypeVar("T", Thumb, Ranking)


class TooFewEdits(Invalid):
    """There are so many ``edits`` that can be learned from, and more are needed."""

    def __init__(self, edits: int) -> None:
        super().__init__(_too_few(edits))
        self.edits = edits


@dataclass(frozen=True)
class HeldOut:
    """One edit that training never sees: what was asked, what applied to it, and what the user made of the answer.

    ``draft`` is that answer; empty where it is the ``target`` itself.
    """

    feedback_id: str
    request: tuple[Message, ...]
    values: tuple[Value, ...]
    preferences: tuple[str, ...]
    adapter_version: int
    target: str
    system_role: bool = True
    draft: str = ""

    def messages(self, with_preferences: bool) -> list[Message]:
        """The prompt as it is served, with or without the preferences that were applied to the turn."""
        return compose(self.request, self.values, self.preferences if with_preferences else (), self.system_role)


@dataclass(frozen=True)
class Dataset:
    """Training rows as ``recipes/`` describes them, held-out edits, and which edits and thumbs the rows came from."""

    rows: list[dict[str, Any]]
    held_out: list[HeldOut]
    learned_from: list[str]
    learned_through: float
    thumbs: list[str]
    rankings: list[str] = field(default_factory=list)


def build(
    edits: Sequence[Edit],
    thumbs: Sequence[Thumb] = (),
    rankings: Sequence[Ranking] = (),
    *,
    seed: int = 0,
    system_role: bool = True,
) -> Dataset:
    """Split ``edits`` (oldest first) by time, hold the newest out, and make rows of the rest.

    An edit gives a row with the prompt as the adapter alone is served, and one with the turn's preferences where
    it had any; both say what was changed about the draft. The first also has the prompt under values that the user
    stated elsewhere, the second the prompt with the preferences of another edit. Accepted answers (edits of no cost)
    count too: they say what is right.

    A thumb gives rows with the same prompts, the answer and ``label``, unless it is as new as what is held out, or
    about an answer that is. A ranking gives rows of its best answer and each of the others, marked ``ranked``.

    Where there are too few edits, answers that were liked, or ranked first, are held out beside them: they stand in for
    the text that nobody wrote. Raises ``TooFewEdits`` below ``MIN_EDITS`` of all these.
    """
    usable = [edit for edit in edits if _is_text(edit.turn.request)][-MAX_EDITS:]
    written = {edit.feedback_id for edit in usable}
    if len(usable) < MIN_EDITS:
        liked = [one for one in _stand_ins(thumbs, rankings) if _is_text(one.turn.request)]
        usable = sorted([*usable, *liked], key=lambda one: one.created_at)[-MAX_EDITS:]
    if len(usable) < MIN_EDITS:
        raise TooFewEdits(len(usable))
    held = min(MAX_HELD_OUT, max(MIN_HELD_OUT, math.ceil(HELD_OUT_SHARE * len(usable))))
    training, newest = [edit for edit in usable[:-held] if edit.feedback_id in written], usable[-held:]
    stated = list(dict.fromkeys(tuple(edit.turn.applied_values) for edit in training if edit.turn.applied_values))
    applied = list(dict.fromkeys(_applied(edit.turn) for edit in training if edit.turn.applied_preferences))
    rows = [row for edit in training for row in _rows(edit, system_role, stated, applied)]
    judged, ranked = _seen(thumbs, newest)[-MAX_THUMBS:], _seen(rankings, newest)[-MAX_RANKINGS:]
    rows += [row for thumb in judged for row in _thumb_rows(thumb, system_role)]
    rows += [row for ranking in ranked for row in _ranking_rows(ranking, system_role)]
    random.Random(seed).shuffle(rows)
    return Dataset(
        rows=rows,
        held_out=[_held_out(edit, system_role) for edit in newest],
        learned_from=[edit.feedback_id for edit in training],
        learned_through=max(one.created_at for one in usable[:-held]),
        thumbs=[thumb.feedback_id for thumb in judged],
        rankings=[ranking.feedback_id for ranking in ranked],
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
    return {"prompt": _sent(edit.turn), "chosen": _said(edit.edited_text), "rejected": _said(edit.draft)}


def unpaired_row(thumb: Thumb) -> dict[str, Any] | None:
    """A thumb as TRL's unpaired preference, ``prompt`` and ``completion`` of conversations and ``label``.

    The prompt is the one that was answered. None for media.
    """
    if not _is_text(thumb.turn.request):
        return None
    return {"prompt": _sent(thumb.turn), **_labelled(thumb)}


def completion_rows(edit: Edit) -> list[dict[str, list[Message]]]:
    """An edit as TRL's ``prompt`` and ``completion`` of conversations: the prompt as it was sent; none for media."""
    if not _is_text(edit.turn.request):
        return []
    return [{"prompt": _sent(edit.turn), "completion": _said(edit.edited_text)}]


def ranking_pairs(ranking: Ranking) -> list[dict[str, list[Message]]]:
    """A ranking as TRL's preference pairs of conversations: its best answer and each of the others; none for media."""
    if not _is_text(ranking.turn.request):
        return []
    best, *others = map(_said, ranking.answers)
    return [{"prompt": _sent(ranking.turn), "chosen": best, "rejected": other} for other in others]


def _too_few(edits: int) -> str:
    return f"{edits} edits are too few to learn from: at least {MIN_EDITS} are needed."


def _rows(
    edit: Edit,
    system_role: bool,
    stated: Sequence[tuple[Value, ...]] = (),
    applied: Sequence[tuple[str, ...]] = (),
) -> list[dict[str, Any]]:
    asked = _held_out(edit, system_role)
    answer: dict[str, Any] = {"completion": _said(edit.edited_text)}
    if edit.draft != edit.edited_text:
        answer |= {"rejected": _said(edit.draft), "cost": edit.cost}
    rows = [{"prompt": prompt, **answer} for prompt in _prompts(asked)]
    if asked.values in stated and len(stated) > 1:
        other = stated[stated.index(asked.values) - 1]
        rows[0]["contrast"] = [plain(m) for m in replace(asked, values=other).messages(with_preferences=False)]
    if asked.preferences in applied and len(applied) > 1:
        others = applied[applied.index(asked.preferences) - 1]
        rows[-1]["corrupted"] = [plain(m) for m in replace(asked, preferences=others).messages(with_preferences=True)]
    return rows


def _seen(ones: Sequence[T], held_out: Sequence[Edit]) -> list[T]:
    """Those older than all that is held out, and about other answers."""
    unseen = {edit.turn.completion_id for edit in held_out}
    older = (one for one in ones if one.created_at < held_out[0].created_at)
    return [one for one in older if one.turn.completion_id not in unseen and _is_text(one.turn.request)]


def _thumb_rows(thumb: Thumb, system_role: bool) -> list[dict[str, Any]]:
    asked = _asked(thumb.feedback_id, thumb.turn, thumb.answer, system_role)
    return [{"prompt": prompt, **_labelled(thumb)} for prompt in _prompts(asked)]


def _ranking_rows(ranking: Ranking, system_role: bool) -> list[dict[str, Any]]:
    best, *others = ranking.answers
    asked = _asked(ranking.feedback_id, ranking.turn, best, system_role)
    return [
        {"prompt": prompt, "completion": _said(best), "rejected": _said(text), "cost": normalised_distance(text, best),
         "ranked": True}
        for prompt in _prompts(asked)
        for text in others
    ]  # fmt: skip


def _stand_ins(thumbs: Sequence[Thumb], rankings: Sequence[Ranking]) -> list[Edit]:
    """What was liked, as edits of no cost: one of each request, the newest."""
    liked = [(one.feedback_id, one.turn, one.answer, one.created_at) for one in thumbs if one.up]
    liked += [(one.feedback_id, one.turn, one.answers[0], one.created_at) for one in rankings]
    by_request = {str(one[1].request): one for one in sorted(liked, key=lambda one: one[3])}
    return [Edit(id, turn, text, text, 0.0, created_at) for id, turn, text, created_at in by_request.values()]


def _labelled(thumb: Thumb) -> dict[str, Any]:
    return {"completion": _said(thumb.answer), "label": thumb.up}


def _said(text: str) -> list[Message]:
    """An answer as a conversation's end."""
    return [{"role": "assistant", "content": text}]


def _sent(turn: Turn) -> list[Message]:
    """The prompt that was answered."""
    return [plain(message) for message in turn.prompt]


def _prompts(asked: HeldOut) -> list[list[Message]]:
    """As the adapter alone is served, and with the turn's preferences where it had any."""
    prompts = [asked.messages(with_preferences=kept) for kept in ((False, True) if asked.preferences else (False,))]
    return [[plain(message) for message in prompt] for prompt in prompts]


def _held_out(edit: Edit, system_role: bool) -> HeldOut:
    asked = _asked(edit.feedback_id, edit.turn, edit.edited_text, system_role)
    return asked if edit.draft == edit.edited_text else replace(asked, draft=edit.draft)


def _asked(feedback_id: str, turn: Turn, target: str, system_role: bool) -> HeldOut:
    return HeldOut(
        feedback_id=feedback_id,
        request=tuple(turn.request),
        values=tuple(turn.applied_values),
        preferences=_applied(turn),
        adapter_version=turn.adapter_version,
        target=target,
        system_role=system_role,
    )


def _applied(turn: Turn) -> tuple[str, ...]:
    return tuple(str(preference["text"]) for preference in turn.applied_preferences)


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
