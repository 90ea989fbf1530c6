"""Which arms there are, and which of them play."""

from collections.abc import Callable, Mapping, Sequence

from lab.prelude.arms.attune import Attune
from lab.prelude.arms.cipher import Cipher
from lab.prelude.arms.edits import ChainOfThought, InContext
from lab.prelude.arms.feedback import KINDS, MISLED, AttuneBy
from lab.prelude.arms.fixed import Constant, NoLearning, Oracle
from lab.prelude.arms.imported import AttuneImported
from lab.prelude.arms.single import Continual, ExploreThenExploit
from lab.prelude.log import Chain
from lab.prelude.ports import Arm
from lab.prelude.trial import Trial


def _taught_by(kind: str) -> Callable[[Trial], Arm]:
    return lambda trial: AttuneBy(trial.client, trial.tenant, kind, trial.voice)


ARMS: Mapping[str, Callable[[Trial], Arm]] = {
    "none": lambda trial: NoLearning(trial.client),
    "oracle": lambda trial: Oracle(trial.client, trial.truth),
    "constant": lambda trial: Constant(trial.client),
    "explore-then-exploit": lambda trial: ExploreThenExploit(trial.client),
    "continual": lambda trial: Continual(trial.client),
    "icl-edit-5": lambda trial: InContext(trial.client, trial.vectors, 5),
    "cot-edit": lambda trial: ChainOfThought(trial.client, trial.vectors, 5),
    "cipher-5": lambda trial: Cipher(trial.client, trial.vectors, 5),
    "attune": lambda trial: Attune(trial.client, trial.tenant),
    "attune+adapter": lambda trial: Attune(trial.client, trial.tenant, trial.training),
    "attune:import": lambda trial: AttuneImported(trial.client, trial.tenant, trial.past),
    **{f"attune:{kind}": _taught_by(kind) for kind in (*KINDS, *MISLED)},
}
SLOW_ARM = "attune+adapter"
DEFAULT_ARMS = tuple(arm for arm in ARMS if ":" not in arm and arm != "constant")
"""Those that play in the synthetic world where none are named: users who edit."""
_HARD = ("oracle", "cipher-5", "attune")
HARD_ARMS: Mapping[str, Sequence[str]] = {"drift": _HARD, "noise": _HARD, "habit": (*_HARD, SLOW_ARM)}
"""Those that play the harder variants where none are named."""
EVERYDAY_ARMS = ("none", "oracle", "constant", "icl-edit-5", "cipher-5", "attune", SLOW_ARM)
"""Those that play in the everyday world where none are named."""


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


def plan(
    environments: Sequence[str], variants: Sequence[str], arms: Sequence[str] | None, seeds: int
) -> tuple[Chain, ...]:
    """The chains of a run, the slow ones first. Without named arms all play, and ``HARD_ARMS`` the harder variants."""
    chains = [
        Chain(environment, variant, arm, seed)
        for environment in environments
        for variant in variants
        for arm in arms or HARD_ARMS.get(variant, DEFAULT_ARMS)
        for seed in range(1, seeds + 1)
    ]
    return tuple(sorted(chains, key=lambda chain: (not chain.learns_on_the_server, chain.seed)))
