"""The seams of the benchmark: an environment knows what users want, an arm learns it, only edits pass between them."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from lab.prelude.asking import Asking
from preference.distance import word_distance


@dataclass(frozen=True)
class Draft:
    """What an arm wrote for a request, and the preferences it wrote it by."""

    text: str
    preferences: Sequence[str] = ()
    completion_id: str = ""


@dataclass
class Expense:
    """Tokens of an arm's calls to the model: for answers, and for learning (None where a server does not tell)."""

    answer_in: int = 0
    answer_out: int = 0
    learner_in: int | None = 0
    learner_out: int | None = 0


class Voice(Protocol):
    """What a user says of answers to the request at hand, beside editing them; an arm hears no more than that."""

    def comment(self, draft: str) -> str | None:
        """What is wrong, in the user's words; None where nothing is."""

    def misleading(self) -> str | None:
        """A wish that the user has not, now and then."""

    def own(self) -> str:
        """What the user would have written without a draft."""


class Arm(ABC):
    """A way to learn from edits, for one user. It sees requests, its drafts and edits: never a kind, never a style.

    ``asking`` is how it asks the model, set by whoever lets it play.
    """

    def __init__(self) -> None:
        self.expense = Expense()
        self.asking = Asking()

    @abstractmethod
    async def complete(self, request: str) -> Draft:
        """Answer a request by what was learned so far."""

    async def learn(self, request: str, draft: Draft, edited: str) -> dict[str, Any]:
        """Learn from one round, also from a draft that was left as it was; what is needed to go on later, as JSON.

        ``adapter`` in it is what there is to tell of an adapter that was trained.
        """
        return {}

    async def restore(self, lessons: Sequence[dict[str, Any]]) -> None:  # noqa: B027 # an arm may remember nothing
        """Take up where an interrupted run stopped: ``lessons`` are what ``learn`` gave, oldest first.

        What was learned from a round that is not among them is forgotten: that round is played again.
        """


@dataclass(frozen=True)
class Round:
    """One request, as the environment's own record; only ``text`` reaches an arm."""

    number: int
    text: str
    kind: str
    careless: bool = False
    secret: Any = field(default=None, repr=False)


class Environment(ABC):
    """One user's requests and hidden wishes: deterministic in its seed, and independent of any model."""

    rounds: Sequence[Round]
    """In their order."""

    @abstractmethod
    def wants(self, round: Round) -> Sequence[str]:
        """The true preferences behind a round, as short texts: for the oracle, and for measuring accuracy."""

    @abstractmethod
    async def edit(self, round: Round, draft: str) -> str:
        """The text the user really sends; ``draft`` itself when nothing needs to change."""

    def cost(self, round: Round, draft: str, edited: str) -> int:
        """What the edit costs in words; a careless edit is charged as a careful one would be."""
        return word_distance(draft, edited)

    def broken(self, round: Round, draft: str) -> dict[str, bool]:
        """For each wish by name whether the draft breaks it; none where wishes cannot be told apart."""
        return {}

    def past(self, samples: int) -> Sequence[tuple[str, str, str]]:
        """So many requests of each kind from before, each with a draft and what the user made of it.

        Raises ``ValueError`` where nothing is known of the past.
        """
        raise ValueError("Of this world's users no past is known: leave out attune:import.")
