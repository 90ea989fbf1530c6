"""What the learner shall reach, beside what it reached, and what a faultless one would."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from statistics import fmean
from typing import Any

from lab.prelude import figures
from lab.prelude.environment import KINDS, make
from lab.prelude.figures import Played, cost

Chains = Mapping[tuple[str, str, str], Sequence[Played]]


def goals(chains: Chains, summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each goal in each environment: its limit, the figure, and whether it is met; None is not measured."""
    found: list[dict[str, Any]] = []
    for environment in sorted(summary["environments"]):
        found += [{"environment": environment, **one} for one in _of(environment, chains, summary)]
    return found


def goal(what: str, sign: str, limit: float, figure: float | None, **more: Any) -> dict[str, Any]:
    """A goal beside its figure: ``sign`` is "<", "<=" or ">=", ``more`` stands beside them."""
    met = None if figure is None else {"<": figure < limit, "<=": figure <= limit, ">=": figure >= limit}[sign]
    return {"what": what, "goal": f"{sign} {limit}", "figure": figure, "met": met, **more}


def _of(environment: str, chains: Chains, summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    def ratio(ours: str, theirs: str, *, variant: str = "plain", but_first: bool = False) -> float | None:
        a, b = (chains.get((variant, environment, arm), ()) for arm in (ours, theirs))
        return figures.ratio(a, b, figures.later if but_first else list)

    def attune(part: str) -> dict[str, Any]:
        return dict(summary.get(part, {}).get(environment, {}).get("arms", {}).get("attune", {}))

    def above_faultless() -> float | None:
        """Attune's cost over that of a faultless learner with this model, whose own faults are the oracle's cost."""
        ours, oracle = (chains.get(("plain", environment, arm), ()) for arm in ("attune", "oracle"))
        least = faultless(ours)
        both = [[(chain[0].seed, len(chain) == chain[0].rounds) for chain in side] for side in (ours, oracle)]
        if least is None or both[0] != both[1] or not all(whole for _, whole in both[0]):
            return None
        return round(fmean(map(cost, ours)) / (least + fmean(map(cost, oracle))), 4)

    def faultless_loss() -> float | None:
        noise, plain = (faultless(chains.get((variant, environment, "attune"), ())) for variant in ("noise", "plain"))
        return round(100 * (noise / plain - 1), 1) if noise and plain else None

    def taught(kind: str, of: str, limit: float) -> list[dict[str, Any]]:
        """A goal of users who give one kind of feedback, where they played."""
        figure = ratio(f"attune:{kind}", of)
        return [] if figure is None else [goal(f"attune:{kind} / {of}", "<=", limit, figure)]

    drift = attune("drift")
    recovery = goal("drift: rounds until recovered, slowest seed", "<=", 10, drift.get("recovery_rounds_max"))
    if drift.get("not_recovered"):
        recovery["met"] = False
    return [
        goal("attune / cipher-5", "<=", 0.5, ratio("attune", "cipher-5")),
        goal(
            "attune / oracle", "<=", 1.5, ratio("attune", "oracle"),
            without_first_encounters=ratio("attune", "oracle", but_first=True), above_faultless=above_faultless(),
        ),
        goal("zero-edit rounds in the last quarter", ">=", 0.8, attune("environments").get("zero_edit_last_quarter")),
        goal("attune+adapter / attune", "<", 1, ratio("attune+adapter", "attune")),
        goal("habit: attune+adapter / attune", "<", 1, ratio("attune+adapter", "attune", variant="habit")),
        {**recovery, "not_recovered": drift.get("not_recovered")},
        goal(
            "noise: cost above plain, percent", "<=", 15, attune("noise").get("loss_percent"),
            of_faultless=faultless_loss(),
        ),
        *taught("comment", "attune", 1.2), *taught("history", "attune", 1.1),
        *taught("wrong-comments", "attune", 1.02), *taught("copied-signals", "attune", 1.02),
        *taught("hostile-follow-ups", "attune", 1.02),
    ]  # fmt: skip


def faultless(played: Sequence[Played]) -> float | None:
    """Words, mean over the seeds of chains of one environment and variant; None where the world is not synthetic.

    It is no lower bound: who carries over wishes from one kind to another may be lucky.
    """
    firsts = [chain[0] for chain in played]
    if not firsts or firsts[0].environment not in KINDS:
        return None
    return round(fmean(_of_seed(r.environment, r.seed, r.rounds, r.variant) for r in firsts), 4)


@lru_cache(maxsize=256)  # tables and goals ask for the same
def _of_seed(name: str, seed: int, rounds: int, variant: str) -> int:
    return make(name, seed=seed, rounds=rounds, variant=variant).faultless()
