"""What outcomes say once what else explains them is taken off: length, hour, model, adapter version.

Longer answers may convert better whatever they say, and mornings are better than nights. A model that is trained on raw
outcomes learns that (DeconfoundLM, arXiv 2506.00152). Here confounders and causes are fitted together by ridge
regression over the outcomes of all users of a tenant, and what the confounders explain is taken off. Fitted alone, they
would take the causes' share along as far as both go together. A share of answers that are left unpersonalised
(``ATTUNE_CONTROL_SHARE``) is what the causes are told apart by.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, String, and_, cast, func, select, update

from preference.feedback import signals
from store import users
from store.owner import Owner
from store.rows import scope
from store.tables import feedback, turns

Floats = NDArray[np.float64]

LOOKED_AT = 2000
"""So many of a tenant's newest outcomes of one name are fitted to."""
OF_USER = 200
"""And so many of a user's newest are weighed."""
LEAST = 20
"""Fewer outcomes say nothing."""
RIDGE = 1.0
"""In outcomes: what is believed beforehand of each effect is as much as one outcome says that it is none."""
MODELS = 4
"""Models and adapter versions that are told apart, the most frequent."""


@dataclass(frozen=True)
class Outcome:
    """A number, and what is known of the answer that it came of, without its text."""

    value: float
    characters: int
    created_at: float
    model: str
    adapter_version: int
    personalized: bool


def ridge(features: Floats, values: Floats) -> Floats:
    """Effects [features] on centred ``values`` [outcomes] of standardised ``features`` [outcomes, features]."""
    gram = features.T @ features + RIDGE * np.eye(features.shape[1])
    return np.asarray(np.linalg.solve(gram, features.T @ values), np.float64)


def scores(values: Floats) -> Floats:
    """The normal scores (van der Waerden) of ``values`` [n]: by their order alone, so that none outweighs the others.

    Any user may send any number, and is fitted to with the rest of the tenant.
    """
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    shares = (np.cumsum(counts) - counts / 2) / len(values)
    return np.array([NormalDist().inv_cdf(float(share)) for share in shares])[places]


def adjusted(values: Floats, confounders: Floats, causes: Floats) -> Floats:
    """``values`` [n], less what ``confounders`` [n, c] explain beside ``causes`` [n, k]; in standard deviations."""
    centred = values - values.mean()
    features = _standardised(np.concatenate([confounders, causes], axis=1))
    effects = ridge(features, centred)
    number = confounders.shape[1]
    left = centred - features[:, :number] @ effects[:number]
    spread = float(left.std())
    return np.asarray(left / spread if spread > 1e-9 else np.zeros_like(left), np.float64)


def effects(values: Floats, causes: Floats, confounders: Floats) -> Floats:
    """What each of ``causes`` [n, k] is worth in units of ``values`` [n], with ``confounders`` [n, c] held still."""
    features = np.concatenate([causes, confounders], axis=1)
    scales = features.std(axis=0)
    found = ridge(_standardised(features), values - values.mean())
    kept = np.where(scales > 1e-9, found / np.maximum(scales, 1e-9), 0.0)
    return np.asarray(kept[: causes.shape[1]], np.float64)


def of_tenant(c: Connection, tenant: str, name: str) -> list[Outcome]:
    """The newest outcomes of one name, of all users of a tenant: figures, and no text of anybody."""
    size = func.length(cast(turns.c.answers, String))
    columns = (feedback.c.content, size, turns.c.created_at, turns.c.model, turns.c.adapter_version)
    query = select(*columns, turns.c.personalized).where(feedback.c.tenant_id == tenant, turns.c.tenant_id == tenant)
    query = query.where(turns.c.user_id == feedback.c.user_id, turns.c.completion_id == feedback.c.completion_id)
    query = query.where(feedback.c.type == "outcome", feedback.c.slot == name, feedback.c.weight > 0)
    rows = c.execute(query.order_by(feedback.c.created_at.desc()).limit(LOOKED_AT))
    return [
        Outcome(content["value"], length, created_at, model, adapter_version, personalized=personalized != "none")
        for content, length, created_at, model, adapter_version, personalized in rows
    ]


def weigh(c: Connection, owner: Owner, name: str) -> int:
    """Say of the user's outcomes of this name what they say, and add it up; of how many. 0 while there are too few."""
    if not users.lock(c, owner):
        return 0
    known = of_tenant(c, owner.tenant, name)
    mine = _mine(c, owner, name)
    if len(known) < LEAST or not mine:
        return 0
    own = [outcome for *_, outcome in mine]
    counted = Counter(own)
    others = [outcome for outcome in known if not _take(counted, outcome)]
    everything = own + others
    scaled = adjusted(
        scores(np.array([one.value for one in everything])), confounders(everything),
        np.array([[float(one.personalized)] for one in everything]),
    )  # fmt: skip
    applied: set[str] = set()
    for (id, choice, shown, outcome), z in zip(mine, scaled[: len(mine)].tolist(), strict=True):
        content = {"name": name, "value": outcome.value, "adjusted": round(z, 3)}
        of_answer = and_(feedback.c.completion_id == id, feedback.c.choice == choice, feedback.c.slot == name)
        this = and_(scope(feedback, owner), feedback.c.type == "outcome", of_answer)
        c.execute(update(feedback).where(this).values(content=content))
        applied |= set(shown)
    signals.set_favour(c, owner, sorted(applied))
    return len(mine)


def _take(counted: Counter[Outcome], outcome: Outcome) -> bool:
    """Whether one more like this is among those counted."""
    counted[outcome] -= 1
    return counted[outcome] >= 0


def confounders(outcomes: Sequence[Outcome]) -> Floats:
    """[outcomes, features]: length, the hour of the day (UTC) on a circle, and which model and version answered."""
    hours = [2 * math.pi * (one.created_at % 86_400) / 86_400 for one in outcomes]
    columns = [
        [math.log1p(one.characters) for one in outcomes],
        [math.sin(hour) for hour in hours],
        [math.cos(hour) for hour in hours],
    ]
    for kinds in ([one.model for one in outcomes], [str(one.adapter_version > 0) for one in outcomes]):
        frequent = [kind for kind, _ in Counter(sorted(kinds)).most_common(MODELS)]
        columns += [[float(kind == each) for kind in kinds] for each in frequent[1:]]
    return np.array(columns, np.float64).T


def is_control(opaque_id: str, opening: str, share: float, at: float) -> bool:
    """Whether a conversation that begins so is left unpersonalised: the same all day, and by every server."""
    if not share:
        return False
    dealt = f"{opaque_id}\0{int(at // 86_400)}\0{opening}".encode(errors="surrogatepass")
    return int.from_bytes(hashlib.sha256(dealt).digest()[:6]) / 2**48 < share


def _mine(c: Connection, owner: Owner, name: str) -> list[tuple[str, int, list[str], Outcome]]:
    """The user's newest: their answers, the preferences that these were written by, and what they are."""
    size = func.length(cast(turns.c.answers, String))
    columns = (feedback.c.completion_id, feedback.c.choice, turns.c.applied_preferences, feedback.c.content, size)
    query = select(*columns, turns.c.created_at, turns.c.model, turns.c.adapter_version, turns.c.personalized)
    query = query.where(scope(feedback, owner), scope(turns, owner), feedback.c.type == "outcome")
    query = query.where(turns.c.completion_id == feedback.c.completion_id, feedback.c.slot == name)
    rows = c.execute(query.order_by(feedback.c.created_at.desc()).limit(OF_USER))
    found = []
    for id, choice, shown, content, characters, created_at, model, version, personalized in rows:
        outcome = Outcome(content["value"], characters, created_at, model, version, personalized != "none")
        found.append((id, choice, [one["id"] for one in shown], outcome))
    return found


def _standardised(features: Floats) -> Floats:
    spread = features.std(axis=0)
    return np.asarray((features - features.mean(axis=0)) / np.where(spread > 1e-9, spread, 1.0), np.float64)
