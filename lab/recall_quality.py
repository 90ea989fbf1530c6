"""`attune lab recall`: whether recall brings the right preference, for requests as people write them.

``recall_pairs.jsonl`` was written by hand, by one hand: users, each with situations of their own; what was asked there,
the preference learned from it, the same situation asked anew in other words, and a near miss, to which nothing
learned applies. Rows, embedder and `Recall` are the server's own. Half of the users are for choosing settings (dev).
"""

import json
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from lab import recall_everyday
from lab.edits.cases import Case, messages
from lab.provenance import commit
from lab.recall_everyday import Asked
from preference.ports import Kinds
from preference.recall.index import RecallLimits
from preference.recall.recall import Recall
from server.settings import Settings
from store.database import Database
from store.owner import Owner
from store.users import User

PAIRS = Path(__file__).resolve().parent / "recall_pairs.jsonl"
_READ = ("lab/recall_pairs.jsonl", "lab/stated_pairs.jsonl", "lab/edits")
SPLITS = ("dev", "test")
SWEEP_K = (1, 3, 5, 10)
SWEEP_ALIKE = (0.6, 0.64, 0.68, 0.7, 0.72, 0.76, 0.8)
SWEEP_SPREAD = (0.02, 0.05, 0.1)


@dataclass(frozen=True)
class Situation:
    """What a user asked once, what was learned there, and two later requests."""

    situation: str
    context: str
    preference: str
    same: str
    near_miss: str


@dataclass(frozen=True)
class Person:
    """An imagined user. ``everywhere`` are preferences stated for every answer."""

    user: str
    split: str
    about: str
    everywhere: tuple[str, ...]
    situations: list[Situation] = field(default_factory=list)

    @property
    def owner(self) -> Owner:
        """Whose rows they are."""
        return Owner("lab", self.user)

    @property
    def learned(self) -> list[tuple[str, Asked]]:
        """What was learned, and where."""
        return [(situation.preference, messages(situation.context)) for situation in self.situations]


@dataclass(frozen=True)
class Setting:
    """How recall is asked."""

    k: int
    limits: RecallLimits

    @classmethod
    def of_server(cls) -> "Setting":
        """The server's defaults."""
        default: dict[str, Any] = {name: option.default for name, option in Settings.model_fields.items()}
        limits = RecallLimits(alike=default["recall_min_score"], budget=default["preference_token_budget"])
        return cls(default["recall_k"], limits)

    def named(self) -> dict[str, float]:
        """What the sweep varies."""
        return {"k": self.k, "alike": self.limits.alike, "spread": self.limits.spread}


@dataclass(frozen=True)
class Outcome:
    """One request's: how many learned preferences came, and whether the situation's own was among them."""

    user: str
    split: str
    near_miss: bool
    own: bool
    applied: int


def load(path: Path = PAIRS) -> list[Person]:
    """The people of a file: a line for each person, and one for each situation of a person named before."""
    people: dict[str, Person] = {}
    for line in path.read_text().splitlines():
        fields = json.loads(line)
        if "split" in fields:
            people[fields["user"]] = Person(**{**fields, "everywhere": tuple(fields["everywhere"])})
        else:
            people[fields.pop("user")].situations.append(Situation(**fields))
    return list(people.values())


async def measure(
    people: Sequence[Person],
    embedder: Kinds,
    everyday: Mapping[str, Sequence[Case]] | None = None,
    stated: Sequence[dict[str, str]] = (),
) -> dict[str, Any]:
    """Everything, as JSON: figures by user and split with the server's settings, the ranks, and the sweep.

    And of ``everyday`` cases by split, and of what one user ``stated``, where there are any.
    """
    server = Setting.of_server()
    with tempfile.TemporaryDirectory(prefix="lab-recall-") as folder:
        database = Database(f"sqlite:///{folder}/recall.db")
        try:
            database.migrate()
            stored = [
                (
                    person,
                    database.write_now(
                        recall_everyday.store, person.owner, person.everywhere, person.learned, embedder
                    ),
                )
                for person in people
            ]
            outcomes = await _outcomes(stored, database, embedder, server)
            sweep: list[dict[str, Any]] = [
                {**setting.named(), **_by_split(await _outcomes(stored, database, embedder, setting))}
                for setting in _settings(server)
            ]
            cases = {
                split: await recall_everyday.everyday(split, found, database, embedder, server.k, server.limits)
                for split, found in (everyday or {}).items()
                if found
            }
            told = await recall_everyday.stated(stated, database, embedder, server.k, server.limits) if stated else {}
        finally:
            database.close()
    best = max(sweep, key=lambda found: found["dev"]["f1"])
    return {
        "date": time.strftime("%Y-%m-%d"),
        "commit": commit("preference", "store", "lab/recall_quality.py", "lab/recall_everyday.py", *_READ),
        "embedder": embedder.name,
        "situations": sum(len(person.situations) for person in people),
        "setting": server.named() | asdict(server.limits),
        **{name: found | {"mrr": _mrr(people, embedder, name)} for name, found in _by_split(outcomes).items()},
        "users": {p.user: {"split": p.split, **_figures([o for o in outcomes if o.user == p.user])} for p in people},
        "best_on_dev": best,
        "everyday": cases,
        "stated": told,
        "sweep": sweep,
    }


async def _outcomes(
    stored: Sequence[tuple[Person, User]], database: Database, embedder: Kinds, setting: Setting
) -> list[Outcome]:
    recall = Recall(database, embedder, setting.limits)
    found = []
    for person, user in stored:
        for situation in person.situations:
            for near_miss, text in ((False, situation.same), (True, situation.near_miss)):
                texts = [recalled.text for recalled in await recall.recall(user, text, k=setting.k)]
                learned = [text for text in texts if text not in person.everywhere]
                own = situation.preference in learned
                found.append(Outcome(person.user, person.split, near_miss, own, len(learned)))
    return found


def _settings(server: Setting) -> Iterable[Setting]:
    """The sweep, in which the server's own settings stand, too."""
    for k in sorted({*SWEEP_K, server.k}):
        for alike in sorted({*SWEEP_ALIKE, server.limits.alike}):
            for spread in sorted({*SWEEP_SPREAD, server.limits.spread}):
                yield Setting(k, replace(server.limits, alike=alike, spread=spread))


def _by_split(outcomes: Sequence[Outcome]) -> dict[str, dict[str, float]]:
    return {split: _figures([o for o in outcomes if o.split == split]) for split in SPLITS}


def _figures(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """Shares of 1, and ``applied``, how many learned preferences came in the mean where one is right.

    ``recall``: of requests of a known situation, those that got its preference. ``precision_same``: of the learned
    preferences that those got, the right ones; ``precision``: the same of all requests, where a near miss has none.
    Of the near misses, ``near_misses`` got the preference of the situation that they resemble, ``misled`` got any.
    """
    same = [outcome for outcome in outcomes if not outcome.near_miss]
    near = [outcome for outcome in outcomes if outcome.near_miss]
    right, applied = sum(outcome.own for outcome in same), sum(outcome.applied for outcome in outcomes)
    applied_same = sum(outcome.applied for outcome in same)
    recall, precision = right / len(same), right / applied if applied else 0.0
    figures = {
        "recall": recall,
        "precision_same": right / applied_same if applied_same else 0.0,
        "precision": precision,
        "f1": 2 * recall * precision / (recall + precision) if right else 0.0,
        "near_misses": fmean(outcome.own for outcome in near),
        "misled": fmean(outcome.applied > 0 for outcome in near),
        "applied": applied_same / len(same),
    }
    return {name: round(value, 3) for name, value in figures.items()}


def _mrr(people: Sequence[Person], embedder: Kinds, split: str) -> float:
    """Mean reciprocal rank of the right situation among a user's, by cosine alone."""
    reciprocal = []
    for person in people:
        if person.split == split:
            held = embedder.embed([situation.context for situation in person.situations])
            asked = embedder.embed([situation.same for situation in person.situations])
            cosines = asked @ held.T
            own = np.diagonal(cosines)[:, None]
            reciprocal += (1 / (cosines >= own).sum(axis=1)).tolist()
    return round(fmean(reciprocal), 3)
