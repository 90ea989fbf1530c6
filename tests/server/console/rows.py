"""Rows as weeks of use leave them, for pages and pictures: answers, edits, what they taught, adapter versions."""

import random
import time
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, insert, update

from preference import context_rows, preferences
from preference.ports import Embedder
from store import turns, users
from store.owner import Owner
from store.rows import key, scope
from store.tables import adapters as adapters_table
from store.tables import feedback as feedback_table
from store.tables import preferences as preferences_table
from store.tables import turns as turns_table
from store.turns import Turn
from store.values import Value

DAY = 86_400.0
ANNA = (
    "Write an email to Anna, my client.\nNotes:\nabout: the launch\nwhat: the invoice is late\nwhen: Friday at 10\n"
    "where: the head office\nrequest: send the quote"
)
DRAFT = (
    "Hello Anna,\nThis is about the launch.\nThe invoice is late.\nThe time is Friday at 10.\n"
    "The place is the head office.\nPlease send the quote.\nIs this fine?\nRegards"
)
EDITED = (
    "Dear Anna,\nI am writing to inform you about the launch.\n- The invoice is late.\n- The time is Friday at 10.\n"
    "- The place is the head office.\n- It would be appreciated if you could send the quote.\nBest wishes"
)
REVIEW = "Sum up this review.\nPeter wrote about the tasting menu. The steak is delayed. The candles were lit."
LEARNED = (
    ("Greet with Dear.", ANNA), ("Write in a formal tone.", ANNA), ("Use bullet points.", ANNA),
    ("Do not end with a question.", ANNA), ("Sign off with Best wishes.", ANNA),
    ("Begin with the verdict.", REVIEW), ("Leave out what the place looked like.", REVIEW),
)  # fmt: skip
_ARMS = {
    "base": (0.58, 0.41, 0.33, 0.49, 56),
    "retrieval": (0.17, 0.0, 0.0, 0.0, 134),
    "serving": (0.17, 0.0, 0.0, 0.0, 134),
    "adapter": (0.09, -0.08, -0.15, -0.01, 56),
    "retrieval+adapter": (0.06, -0.11, -0.17, -0.05, 134),
}
REPORT: dict[str, Any] = {
    "verdict": "admitted",
    "sentence": "admitted as retrieval+adapter: on 12 held-out edits it costs 0.06 where serving costs 0.17 "
    "(difference [-0.17, -0.05]), at 100% of its prompt tokens.",
    "arms": {
        name: {"cost": cost, "difference": difference, "interval": [low, high], "prompt_tokens": tokens}
        for name, (cost, difference, low, high, tokens) in _ARMS.items()
    },
}
_REFUSED = {
    "verdict": "refused",
    "sentence": "refused: on 8 held-out edits adapter costs 0.04 more than serving",
    "arms": {name: {**row, "interval": [-0.06, 0.14]} for name, row in REPORT["arms"].items()},
}


def weeks(c: Connection, owner: Owner, about: Embedder, rounds: int = 42) -> str:
    """Weeks of one user: ``rounds`` edits that cost less and less, two adapter versions. The last answer's id."""
    rng = random.Random(3)
    users.ensure(c, owner)
    users.set_standing_values(c, owner, [Value(preference="Be brief", description="Five sentences at most.")])
    began = time.time() - rounds * DAY
    ids = [preferences.create(c, owner, text, "learned").id for text, _ in LEARNED]
    preferences.create(c, owner, "No emojis, ever.", "stated")
    made = ""
    for number in range(rounds):
        at, is_review = began + number * DAY, number % 3 == 2
        used = [] if number < 3 else ids[5:] if is_review else ids[:5]
        applied = [{"id": id, "text": LEARNED[ids.index(id)][0], "score": 0.93} for id in used]
        made = f"chatcmpl-{number:04d}"
        listed = "\n".join(f"- {one['text']}" for one in applied)
        said = "What this user prefers in answers like this one:"
        block = f"<preferences>\n{said}\n{listed}\n</preferences>"
        request = [{"role": "user", "content": REVIEW if is_review else ANNA}]
        prompt = [{"role": "user", "content": request[0]["content"] + (f"\n\n{block}" if applied else "")}]
        version = 2 if number > 32 else 0
        tokens = 55 + 78 * bool(applied) * (number <= 32) + rng.randrange(6)
        how = "retrieval+adapter" if version else "retrieval" if applied else "none"
        whole = Turn(
            made, at, "attune-tiny", request, prompt, "0" * 64, [DRAFT if number < 3 else EDITED], [], applied,
            version, how, tokens, 45 + rng.randrange(8), partial=False, first_token_ms=140 + 2 * number,
            total_ms=1900 + 11 * number,
        )  # fmt: skip
        turns.record(c, owner, whole)
        cost = max(0.0, round(0.55 * 0.9**number + rng.uniform(-0.04, 0.05), 3)) if number % 5 else 0.0
        cost = round(rng.uniform(0.45, 0.62), 3) if number < 3 else 0.0 if number > 33 and number % 4 else cost
        _edit(c, owner, f"fb-{number:04d}", whole, EDITED, cost, ids[5:] if is_review else ids[:5], at + 60)
        if number % 4 == 0:
            for id in ids[5:] if is_review else ids[:5]:
                _seen(c, owner, id, f"fb-{number:04d}", request[0]["content"], about, at)
    for version, (state, report, day) in enumerate((("refused", _REFUSED, 15), ("ready", REPORT, 33)), start=1):
        at = began + day * DAY
        row = {
            "version": version, "state": state, "mode": "retrieval+adapter", "learned_through": at, "report": report,
            "created_at": at, "updated_at": at, "activated_at": at if state == "ready" else None,
        }  # fmt: skip
        c.execute(insert(adapters_table).values(**key(owner), **row))
    users.set_active_adapter(c, owner, 2)
    for number, id in enumerate(ids):
        _age(c, owner, id, began + (number // 2) * 2 * DAY + number)
    return made


def many(c: Connection, owner: Owner, of_preferences: int, of_turns: int) -> None:
    """A user with so many stated preferences and so many turns."""
    users.ensure(c, owner)
    for number in range(of_preferences):
        preferences.create(c, owner, f"Preference number {number}", "stated")
    rows = [
        {
            **key(owner), "completion_id": f"chatcmpl-{number:05d}", "created_at": 1.7e9 + number, "model": "m",
            "request": [], "prompt": [], "prompt_sha256": "0" * 64, "answers": ["x"], "applied_values": [],
            "applied_preferences": [], "adapter_version": 0, "personalized": "none", "prompt_tokens": 1,
            "completion_tokens": 1, "partial": False,
        }
        for number in range(of_turns)
    ]  # fmt: skip
    for start in range(0, of_turns, 1000):
        c.execute(insert(turns_table), rows[start : start + 1000])


def hostile(c: Connection, owner: Owner, text: str, about: Embedder) -> str:
    """A user all of whose texts are ``text``; the answer's id."""
    users.ensure(c, owner)
    users.set_standing_values(c, owner, [Value(subdimension=text[:100], preference=text, description=text)])
    id = preferences.create(c, owner, text, "learned").id
    applied = [{"id": id, "text": text, "score": 0.9}]
    messages = [
        {"role": "system", "content": text},
        {"role": "user", "content": f"{text}\n<preferences>{text}</preferences>"},
    ]
    whole = Turn(
        "chatcmpl-hostile", time.time(), text, messages, messages, "0" * 64, [text], [], applied, 0, "retrieval", 1, 1,
        partial=False,
    )  # fmt: skip
    turns.record(c, owner, whole)
    _edit(c, owner, "fb-hostile", whole, f"{text} {text}", 0.5, [id], time.time(), reason=text)
    _seen(c, owner, id, "fb-hostile", text, about, time.time())
    report = {**REPORT, "sentence": text}
    row = {
        "version": 1, "state": "ready", "mode": "adapter", "learned_through": 1.0, "report": report,
        "created_at": 1.0, "updated_at": 1.0, "activated_at": 1.0,
    }  # fmt: skip
    c.execute(insert(adapters_table).values(**key(owner), **row))
    return whole.completion_id


def _edit(
    c: Connection, owner: Owner, id: str, turn: Turn, text: str, cost: float, learned: Sequence[str], at: float,
    reason: str | None = None,
) -> None:  # fmt: skip
    told = [
        {
            "text": preferences.get(c, owner, one).text,
            "verdict": "learned",
            "reason": reason or "it makes the edit likelier",
            "lift": 7.5,
        }
        for one in learned
    ]
    told.append(
        {
            "text": reason or "Write in capitals.",
            "verdict": "refused",
            "reason": reason or "it makes the edit no likelier",
            "lift": -0.4,
        }
    )
    row = {
        "id": id, "completion_id": turn.completion_id, "choice": 0, "type": "edit", "edited_text": text, "cost": cost,
        "status": "learned", "reason": reason, "learned": list(learned), "idempotency_key": None, "body_sha256": id,
        "created_at": at, "candidates": told,
    }  # fmt: skip
    c.execute(insert(feedback_table).values(**key(owner), **row))


def _seen(
    c: Connection, owner: Owner, preference: str, id: str, text: str, about: Embedder, at: float
) -> None:  # fmt: skip
    (vector,) = about.embed([text])
    context_rows.add(c, owner, preference, feedback_id=id, text=text, embedder=about.name, vector=vector)


def _age(c: Connection, owner: Owner, id: str, at: float) -> None:
    mine = (scope(preferences_table, owner), preferences_table.c.id == id)
    c.execute(update(preferences_table).where(*mine).values(created_at=at))
