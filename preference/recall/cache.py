"""What memory holds of users' preferences and latest requests: as much as fits, the latest used."""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from preference.ports import Vectors
from preference.recall.index import Partition, Query


@dataclass(frozen=True, slots=True)
class Known:
    """What memory holds of a user: the index, and the latest texts as they are looked for, the last one last.

    ``told`` has the vectors, [dimension], of what the user stated for everywhere, if that is too much for a prompt.
    """

    partition: Partition
    queries: dict[bytes, Query]
    told: dict[str, Vectors]

    @property
    def size(self) -> int:
        """What it counts for in memory, in vectors."""
        return 1 + len(self.partition) + len(self.queries) + len(self.told)


class Cache:
    """``Known`` by users' opaque ids, since tombstones name no more. ``capacity`` is in vectors of all users."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self.size = 0
        self._known: OrderedDict[str, Known] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, opaque_id: str) -> bool:
        return opaque_id in self._known

    def get(self, opaque_id: str) -> Known | None:
        """What is held of a user."""
        return self._known.get(opaque_id)

    def put(self, opaque_id: str, known: Known) -> None:
        """Hold it in place of what was held."""
        self.forget(opaque_id)
        self._known[opaque_id] = known
        self.size += known.size

    def used(self, opaque_id: str) -> None:
        """The user's is the latest used; the others' give way if all is too much, the longest unused first."""
        self._known.move_to_end(opaque_id)
        while self.size > self._capacity and len(self._known) > 1:
            self.forget(next(iter(self._known)))

    def forget(self, opaque_id: str) -> None:
        """Drop what is held of a user."""
        known = self._known.pop(opaque_id, None)
        self.size -= 0 if known is None else known.size

    @contextmanager
    def growing(self, opaque_id: str, known: Known) -> Iterator[None]:
        """Count what ``known`` grows by, unless it was forgotten meanwhile."""
        before = known.size
        yield
        if self._known.get(opaque_id) is known:
            self.size += known.size - before
