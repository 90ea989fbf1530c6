"""Which arms there are, and what each of them is given."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from lab.client import Client
from lab.prelude.arms.attune import Attune
from lab.prelude.arms.cipher import Cipher
from lab.prelude.arms.constant import Constant
from lab.prelude.arms.continual import Continual
from lab.prelude.arms.cot import ChainOfThought
from lab.prelude.arms.explore import ExploreThenExploit
from lab.prelude.arms.feedback import KINDS, MISLED, AttuneBy
from lab.prelude.arms.icl import InContext
from lab.prelude.arms.imported import AttuneImported
from lab.prelude.arms.none import NoLearning
from lab.prelude.arms.oracle import Oracle
from lab.prelude.environment import SyntheticEnvironment
from lab.prelude.memory import Vectors
from lab.prelude.meter import Meter
from lab.prelude.ports import Answer, Arm, Environment, Round, Voice
from lab.prelude.voice import SimulatedVoice

_HARD = ("oracle", "cipher-5", "attune")
HARD_ARMS: Mapping[str, Sequence[str]] = {"drift": _HARD, "noise": _HARD, "habit": (*_HARD, "attune+adapter")}
"""Those that play the harder variants where none are named."""


@dataclass(frozen=True)
class Means:
    """Everything that arms are made of. ``truth`` is what the user wants of the request at hand: the oracle's alone."""

    client: Client
    vectors: Vectors
    meter: Meter
    training: Collection[int]
    truth: Callable[[], Sequence[str]]
    at: Callable[[], tuple[Environment, Round]]

    async def past(self, samples: int, answer: Answer) -> Sequence[tuple[str, str, str]]:
        """What the user brings along from before the first round."""
        return await self.at()[0].past(samples, answer)

    @property
    def voice(self) -> Voice:
        """What the user of a synthetic environment says beside their edits."""

        def at() -> tuple[SyntheticEnvironment, Round]:
            environment, round = self.at()
            if not isinstance(environment, SyntheticEnvironment):
                raise ValueError("Users of documents edit, and say nothing else.")
            return environment, round

        return SimulatedVoice(at)


def _taught_by(kind: str) -> Callable[[Means], Arm]:
    return lambda means: AttuneBy(means.client, means.meter, kind, means.voice, means.training)


ARMS: Mapping[str, Callable[[Means], Arm]] = {
    "none": lambda means: NoLearning(means.client),
    "oracle": lambda means: Oracle(means.client, means.truth),
    "constant": lambda means: Constant(means.client),
    "explore-then-exploit": lambda means: ExploreThenExploit(means.client),
    "continual": lambda means: Continual(means.client),
    "icl-edit-1": lambda means: InContext(means.client, means.vectors, 1),
    "icl-edit-5": lambda means: InContext(means.client, means.vectors, 5),
    "cot-edit": lambda means: ChainOfThought(means.client, means.vectors),
    "cipher-1": lambda means: Cipher(means.client, means.vectors, 1),
    "cipher-5": lambda means: Cipher(means.client, means.vectors, 5),
    "attune": lambda means: Attune(means.client, means.meter),
    "attune+adapter": lambda means: Attune(means.client, means.meter, means.training),
    "attune:import": lambda means: AttuneImported(means.client, means.meter, means.past),
    **{f"attune:{kind}": _taught_by(kind) for kind in (*KINDS, *MISLED)},
}
EVERYDAY_ARMS = ("none", "oracle", "constant", "icl-edit-5", "cipher-5", "attune", "attune+adapter")
"""Those that play in the everyday world where none are named."""
SLOW_ARM = "attune+adapter"
DEFAULT_ARMS = tuple(arm for arm in ARMS if ":" not in arm and arm != "constant")
"""Those that play in the synthetic world where none are named: users who edit."""


def learns_on_the_server(arm: str) -> bool:
    """Whether the server learns for it, so that it needs a tenant of its own."""
    return arm.startswith("attune")


def chosen(named: Sequence[str], feedback: Sequence[str] | None, *, everyday: bool, quick: bool) -> list[str] | None:
    """The arms that play; None leaves it to the variant. A ``quick`` look leaves out adapters that nobody named.

    With kinds of ``feedback`` their arms play beside users who edit and users who give nothing.
    """
    arms = list(named)
    if feedback is not None:
        arms += [arm for arm in ("none", "attune") if arm not in arms]
        arms += [f"attune:{kind}" for kind in feedback if kind != "edit"]
    if not arms and (everyday or quick):
        arms = [arm for arm in (EVERYDAY_ARMS if everyday else DEFAULT_ARMS) if not (quick and arm == SLOW_ARM)]
    return arms or None
