"""What else `attune lab recall` asks: of everyday requests, and of a user who stated more than fits into a prompt.

An everyday case is a request whose answer was edited, another request of the same kind, and an other one, to which
nothing applies. ``stated_pairs.jsonl`` is one user: what was stated for everywhere, each with a question that needs it.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from sqlalchemy import Connection

from lab.edits.cases import FOLDER, Case, Request, load, messages
from preference import context_rows, preferences
from preference.ports import Kinds
from preference.recall.index import RecallLimits
from preference.recall.kind import context_of
from preference.recall.recall import Recall
from store import users
from store.database import Database
from store.message import Message
from store.owner import Owner
from store.users import User

STATED = Path(__file__).resolve().parent / "stated_pairs.jsonl"
Asked = Sequence[Message]


def cases(split: str) -> list[Case]:
    """The cases of `attune lab edits` for ``split`` that have both later requests."""
    return [case for case in load(FOLDER / f"cases_{split}.jsonl") if case.other]


async def everyday(
    split: str, asked: Sequence[Case], database: Database, embedder: Kinds, k: int, limits: RecallLimits
) -> Any:
    """Of the same kind's requests the share that got what was learned, of the other ones the share that got anything.

    Once with a user for each case, and once (``together``) with all of them of one user.
    """
    recall = Recall(database, embedder, limits)
    learned = [(case.id, messages(case.request)) for case in asked]
    alone = [
        (case, database.write_now(store, Owner(f"alone-{split}", case.id), (), [one], embedder))
        for case, one in zip(asked, learned, strict=True)
    ]
    everybody = database.write_now(store, Owner("together", split), (), learned, embedder)

    async def found(user: User, request: Request) -> list[str]:
        return [recalled.text for recalled in await recall.recall(user, messages(request), k=k)]

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
    """The share of questions that got their preference, by the similarity of its text and by age alone."""
    user = database.write_now(store, Owner("stated", "all"), [line["preference"] for line in lines], (), embedder)

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


def store(
    connection: Connection, owner: Owner, stated: Sequence[str], learned: Sequence[tuple[str, Asked]], embedder: Kinds
) -> User:
    """A user who has said some preferences, and from whom others were learned, each at a request."""
    users.ensure(connection, owner)
    for text in stated:
        preferences.create(connection, owner, text, "stated")
    for number, (preference, request) in enumerate(learned):
        text, vector = context_of(embedder, request)
        made = preferences.create(connection, owner, preference, "learned")
        context_rows.add(
            connection, owner, made.id, feedback_id=f"fb-{number}", text=text, embedder=embedder.name, vector=vector
        )
    return users.ensure(connection, owner)


def _share(came: Sequence[bool]) -> float:
    return round(fmean(came), 3) if came else 0.0
