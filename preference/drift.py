"""Which situations say no more what a user wants, now that an edit contradicts what held in them.

One edit may be a slip. Two of one kind (`likeness.py`) are a taste, and end what held before in situations much like
theirs. A kind that has a good part of its situations here, and of which nothing was seen since the taste began, ends as
a whole: a habit of years would outvote it for years.
"""

from collections.abc import Set

from preference.likeness import same_kind
from preference.ports import Vectors
from preference.recall import Partition

MUCH_ALIKE = 0.55
"""The likeness of situations that may end each other; less alike ones are of another kind as a rule."""

AT_HOME = 0.3
"""At least this share of a kind's situations must be much like the edit's for the whole kind to end."""


def ended(partition: Partition, vector: Vectors, feedback_id: str, contradicted: Set[str]) -> list[int]:
    """The situations that an edit ends, by their place in ``partition``, which has the edit's own where it left one.

    ``vector``, [dimension], is of the edit's request; ``contradicted`` are preferences that it speaks against.
    """
    alike = partition.alike(vector, MUCH_ALIKE)
    against = [row for row in alike if partition.holds[row] & contradicted]
    if feedback_id not in partition.situations:  # nothing took the place of what it took away: none will vote for that
        return against[-1:] if against and against[-1] == alike[-1] else []
    kinds = same_kind(partition.holds)
    own = partition.situations.index(feedback_id)
    before = [row for row in alike if kinds[row, own] and row != own]
    if not before:
        return []
    began, last = before[0], before[-1]
    ends = {row for row in against if row < last and partition.holds[row] & (contradicted - partition.holds[last])}
    for row in sorted(ends):
        kind = kinds[row].nonzero()[0].tolist()
        if kind[-1] < began and len(set(kind).intersection(alike)) >= AT_HOME * len(kind):
            ends.update(other for other in kind if partition.holds[other] & contradicted)
    return sorted(ends)
