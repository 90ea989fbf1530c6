"""What recall is compared with: one FAISS index over all users' rows, searched with a filter for one user's own.

Only the search is measured: no votes, no texts, no look-up of whose rows are where; selectors are made beforehand.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from bench.load import Figures
from bench.population import Population
from bench.stopwatch import Stopwatch, microseconds
from preference.ports import Vectors

LISTS_VISITED = 16
_TRAINING_ROWS = 50  # for each list; FAISS warns below 39
_CHANGES = 5


@dataclass(frozen=True)
class Search:
    """How one index is asked. ``made`` are its parameters by user, kept alive with their selectors."""

    index: Any
    parameters: Callable[[Any], Any]
    selector: Callable[[int, int], Any]
    """First row of a user and the row after the last one, to a FAISS selector."""
    made: dict[int, tuple[Any, Any]] = field(default_factory=dict)

    def prepare(self, user: int, rows: int) -> None:
        """Make a user's filter."""
        if user not in self.made:
            selector = self.selector(user * rows, (user + 1) * rows)
            self.made[user] = (selector, self.parameters(selector))

    def rows(self, user: int, vector: Vectors, k: int) -> NDArray[np.int64]:
        """The nearest rows of the user, [k], nearest first, -1 where none was found; ``vector`` is [1, dimension]."""
        _, rows = self.index.search(vector, k, params=self.made[user][1])
        return np.asarray(rows[0])


def flat(population: Population, told: Callable[[int], None]) -> Any:
    """Every row in one exact index, a user's rows beside each other."""
    index = faiss.IndexFlatIP(population.dimension)
    _add(index, population, told)
    return index


def inverted(population: Population, told: Callable[[int], None]) -> Any:
    """Every row in one inverted file, of which a search visits some lists."""
    lists = max(1, min(1024, population.users * population.rows // 200))
    index = faiss.IndexIVFFlat(
        faiss.IndexFlatIP(population.dimension), population.dimension, lists, faiss.METRIC_INNER_PRODUCT
    )
    picked = np.linspace(
        0, population.users - 1, min(population.users, -(-lists * _TRAINING_ROWS // population.rows)), dtype=int
    )
    index.train(np.concatenate([population.vectors(int(number))[0] for number in picked]))
    _add(index, population, told)
    return index


def searches(exact: Any, approximate: Any) -> dict[str, Search]:
    """The ways to ask, by name."""

    def ivf(selector: Any) -> Any:
        parameters: Any = faiss.SearchParametersIVF  # its stub knows no fields
        return parameters(sel=selector, nprobe=LISTS_VISITED)

    def plain(selector: Any) -> Any:
        parameters: Any = faiss.SearchParameters
        return parameters(sel=selector)

    def batch(first: int, end: int) -> Any:
        return faiss.IDSelectorBatch(np.arange(first, end, dtype=np.int64))

    return {
        "flat, range": Search(exact, plain, faiss.IDSelectorRange),
        "flat, batch": Search(exact, plain, batch),
        "ivf, range": Search(approximate, ivf, faiss.IDSelectorRange),
        "ivf, batch": Search(approximate, ivf, batch),
    }


def changes(index: Any, vector: Vectors) -> dict[str, Figures]:
    """What it takes to delete a row from the middle, and to add ``vector``, [1, dimension]."""
    delete, add = Stopwatch(), Stopwatch()
    for turn in range(_CHANGES):
        row = index.ntotal // 2 + turn
        with delete:
            index.remove_ids(faiss.IDSelectorRange(row, row + 1))
        with add:
            index.add(vector)
    return {"delete": microseconds(delete.wall), "add": microseconds(add.wall)}


def _add(index: Any, population: Population, told: Callable[[int], None]) -> None:
    for numbers in population.batches():
        index.add(np.concatenate([population.vectors(number)[0] for number in numbers]))
        told(len(numbers))
