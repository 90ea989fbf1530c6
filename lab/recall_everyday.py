"""What else `attune lab recall` asks: of everyday requests, and of a user who stated more than fits into a prompt.

An everyday case is a request whose answer was edited, another request of the same kind, and an other one, to which
nothing applies. ``stated_pairs.jsonl`` is one user: what was stated for everywhere, each with a question that needs it.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from sqlalchemy import Connection

from preference import preferences, users
from preference.database import Database
from preference.kind import situation
from preference.owner import Owner
from preference.ports import Kinds
from preference.prompt import Message
from preference.recall import Recall, RecallLimits
from preference.users import User

STATED = Path(__file__).resolve().parent / "stated_pairs.jsonl"
Asked = str | list[Message]


@dataclass(frozen=True)
class Case:
    """A request, and two later ones; each a text, or a conversation."""

    id: str
    request: Asked
    same: Asked
    other: Asked


def cases(split: str, folder: Path) -> list[Case]:
    """The cases of ``cases_<split>.jsonl`` that have both later requests; none where there is no such file."""
    path = folder / f"cases_{split}.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [Case(*(line[name] for name in ("id", "request", "same", "other"))) for line in lines if line["other"]]


async def everyday(
    split: str, asked: Sequence[Case], database: Database, embedder: Kinds, k: int, limits: RecallLimits
) -> Any:
    """Of the same kind's requests the share that got what was learned, of the other ones the share that got anything.

    Once with a user for each case, and once (``together``) with all of them of one user.
    """
    recall = Recall(database, embedder, limits)
    alone = [(case, database.write_now(_learned, Owner(f"alone-{split}", case.id), [case], embedder)) for case in asked]
    everybody = database.write_now(_learned, Owner("together", split), asked, embedder)

    async def found(user: User, request: Asked) -> list[str]:
        return [recalled.text for recalled in await recall.recall(user, request, k=k)]

    return {
        "cases": len(asked),
        "same": _share([case.id in await found(user, case.same) for case, user in alone]),
        "other": _share([bool(await found(user, case.other)) for case, user in alone]),
        "together_same": _share([case.id in await found(everybody, case.same) for case in asked]),
        "together_other": _share([bool(await found(everybody, case.other)) for case in asked]),
    }


def stated_pairs(path: Path = STATED) -> list[dict[str, str]]:
    """Lines with a ``preference`` and the ``question`` that needs it."""
    return [json.loads(line) for line in path.read_text().splitlines()]


async def stated(
    lines: Sequence[dict[str, str]], database: Database, embedder: Kinds, k: int, limits: RecallLimits
) -> Any:
    """The share of questions that got their preference, by the likeness of its text and by age alone."""
    user = database.write_now(_stated, Owner("stated", "all"), [line["preference"] for line in lines])

    async def came() -> float:
        found = [(line, await recall.recall(user, line["question"], k=k)) for line in lines]
        return _share([line["preference"] in [recalled.text for recalled in got] for line, got in found])

    recall = Recall(database, embedder, limits)
    await recall.recall(user, lines[0]["question"], k=k)
    await recall.settled()
    by_likeness = await came()
    recall = Recall(database, embedder, RecallLimits(budget=10**6))  # everything comes, in the order of age
    fits, spent = 0, 0
    for recalled in await recall.recall(user, lines[0]["question"], k=k):
        spent += len(recalled.text.encode()) // 3 + 2
        fits += spent <= limits.budget
    return {"stated": len(lines), "by_age": round(fits / len(lines), 3), "by_likeness": by_likeness}


def _learned(connection: Connection, owner: Owner, asked: Sequence[Case], embedder: Kinds) -> User:
    """A preference a case, whose text is the case's id."""
    users.ensure(connection, owner)
    for case in asked:
        messages = [{"role": "user", "content": case.request}] if isinstance(case.request, str) else case.request
        text, vector = situation(embedder, messages)
        made = preferences.create(connection, owner, case.id, "learned")
        preferences.add_context(
            connection, owner, made.id, feedback_id=f"fb-{case.id}", text=text, embedder=embedder.name, vector=vector
        )
    return users.ensure(connection, owner)


def _stated(connection: Connection, owner: Owner, texts: Sequence[str]) -> User:
    users.ensure(connection, owner)
    for text in texts:
        preferences.create(connection, owner, text, "stated")
    return users.ensure(connection, owner)


def _share(came: Sequence[bool]) -> float:
    return round(fmean(came), 3) if came else 0.0
