"""Many users with many rows each, made from a seed: what the benchmark of recall stores, and what its users ask."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from sqlalchemy import Connection, insert

from preference.ports import Vectors
from store.database import Database
from store.owner import Owner
from store.tables import contexts, preferences, users
from store.users import User

KINDS = 200
"""Kinds of situation in the whole world; each user knows some of them."""
PREFERENCES = 20
"""Of a user, each learned in situations of one kind, as many as there are rows for it."""
REQUESTS = 2
"""Of a user, each of a kind that the user knows."""
_USERS_AT_ONCE = 20  # 2000 rows, some 4 MB
_NEAR, _COMMON = 0.85, 0.65  # cosines: about 0.85 within a kind, 0.25 between two, much as the space of kinds has it
_FILLER = "Could you write a short reply to this, in my own words, and mention the dates that we agreed on? "
_EMBEDDER = "population"


@dataclass(frozen=True)
class Population:
    """``users`` users with ``rows`` contexts each, every one a situation of its own."""

    users: int
    rows: int = 100
    dimension: int = 769
    seed: int = 0

    def user(self, number: int) -> User:
        """The user as its row says."""
        return User(Owner("bench", f"user-{number}"), f"{number:032x}", (), 0, revision=1)

    def text(self, number: int, request: int) -> str:
        """What the user asks."""
        return f"{number} {request} {_FILLER * 3}"

    def vectors(self, number: int) -> tuple[Vectors, Vectors]:
        """The user's rows [rows, dimension], oldest first, and requests [REQUESTS, dimension]; unit lengths.

        Row r speaks for preference r modulo ``PREFERENCES``, request r asks for preference r.
        """
        rng = np.random.default_rng((self.seed, 1, number))
        known = self._kinds[rng.choice(KINDS, PREFERENCES, replace=False)]
        kinds = np.concatenate([known[np.arange(self.rows) % PREFERENCES], known[:REQUESTS]])
        noise = _unit(rng.standard_normal(kinds.shape, np.float32))
        made = _unit(np.sqrt(_NEAR) * kinds + np.sqrt(1 - _NEAR) * noise)
        return made[: self.rows], made[self.rows :]

    def fill(self, database: Database, told: Callable[[int], None]) -> None:
        """Store all of it, some users a transaction; ``told`` is called with how many."""
        for numbers in self.batches():
            database.write_now(self._insert, numbers)
            told(len(numbers))

    def batches(self) -> Iterable[range]:
        """All users' numbers, some at a time."""
        for first in range(0, self.users, _USERS_AT_ONCE):
            yield range(first, min(first + _USERS_AT_ONCE, self.users))

    def _insert(self, connection: Connection, numbers: Sequence[int]) -> None:
        of_user: list[dict[str, object]] = []
        held: list[dict[str, object]] = []
        seen: list[dict[str, object]] = []
        for number in numbers:
            user = self.user(number)
            key = {"tenant_id": user.owner.tenant, "user_id": user.owner.user}
            of_user.append(
                {**key, "opaque_id": user.opaque_id, "standing_values": [], "active_adapter": 0,
                 "revision": user.revision, "created_at": 1.0}
            )  # fmt: skip
            held += [
                {**key, "id": f"pref-{p:032x}", "text": f"Preference {p}: keep it short and put what matters first.",
                 "source": "learned", "status": "active", "locked": False, "created_at": 2.0 + p, "updated_at": 2.0 + p}
                for p in range(PREFERENCES)
            ]  # fmt: skip
            seen += [
                {**key, "preference_id": f"pref-{r % PREFERENCES:032x}", "id": f"ctx-{r:032x}",
                 "feedback_id": f"fb-{r:032x}", "text": self.text(number, r), "embedder": _EMBEDDER,
                 "vector": vector.astype("<f4").tobytes(), "created_at": 100.0 + r}
                for r, vector in enumerate(self.vectors(number)[0])
            ]  # fmt: skip
        for table, rows in ((users, of_user), (preferences, held), (contexts, seen)):
            connection.execute(insert(table), rows)

    @cached_property
    def _kinds(self) -> Vectors:
        rng = np.random.default_rng((self.seed, 0))
        drawn = _unit(rng.standard_normal((KINDS + 1, self.dimension), np.float32))
        return _unit(drawn[1:] + _COMMON * drawn[0])


class PopulationEmbedder:
    """``Kinds`` that know every request of a population beforehand: what is measured has no model in it."""

    name = _EMBEDDER

    def __init__(self, population: Population) -> None:
        self.dimension = population.dimension
        self.kinds = population.dimension // 2
        self.requests = np.stack([population.vectors(number)[1] for number in range(population.users)])
        """[users, REQUESTS, dimension]"""

    def embed(self, texts: Sequence[str]) -> Vectors:
        """By the two numbers that a text begins with."""
        numbers = [[int(word) for word in text.split(maxsplit=2)[:2]] for text in texts]
        return np.stack([self.requests[number, request] for number, request in numbers])

    def goes_on(self, vector: Vectors) -> bool:
        """Never."""
        return False


def _unit(vectors: Vectors) -> Vectors:
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / lengths, np.float32)
