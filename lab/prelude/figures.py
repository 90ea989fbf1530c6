"""The arithmetic of the report: what chains of rounds cost, and how one compares with another."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from statistics import fmean, stdev
from typing import Any

from lab.prelude.accuracy import Accuracy
from lab.prelude.log import Chain, Line

BIN = 20
"""Rounds a point of the learning curves stands for."""
BACK = 2
"""Words an edit may cost for a kind to count as learned again after a change, where it cost less before."""

Played = list[Line]
"""What was played of a chain."""


def chains(lines: Iterable[Line]) -> dict[tuple[str, str, str], list[Played]]:
    """The chains of each (variant, environment, arm), by seed; rounds in order."""
    by_chain: dict[Chain, Played] = defaultdict(list)
    for line in sorted(lines, key=lambda line: (line.seed, line.number)):
        by_chain[line.chain].append(line)
    found: dict[tuple[str, str, str], list[Played]] = defaultdict(list)
    for chain, played in by_chain.items():
        found[chain.variant, chain.environment, chain.arm].append(played)
    return dict(found)


def arm_figures(played: Sequence[Played], accuracy: Accuracy | None = None) -> dict[str, Any]:
    """What one arm cost over its seeds: means, and sample standard deviations (0 for a single seed).

    Whole chains count; while there are none, what was played of the others. ``accuracy`` says of each round with
    preferences whether they were the right kind's, and how like what was wanted. Costs are in words, shares in [0, 1].
    """
    whole = [chain for chain in played if len(chain) == chain[0].rounds]
    used = whole or list(played)
    last = [chain[-1].expense for chain in used]
    verdicts = [v for chain in used for v in accuracy.of(chain)] if accuracy else []
    similarity = [v for chain in used for v in accuracy.transported(chain)] if accuracy else []
    return {
        **_spread("cumulative_cost", [cost(chain) for chain in used]),
        "first_encounters": mean([cost(first_encounters(chain)) for chain in used]),
        "zero_edit": zero_share(used),
        "zero_edit_last_quarter": zero_share([[r for r in c if r.number >= c[0].rounds * 3 // 4] for c in used]),
        "zero_edit_last_50": zero_share([[r for r in c if r.number >= c[0].rounds - 50] for c in used]),
        "preference_accuracy": mean(verdicts),
        "preference_transport": mean(similarity),
        "rounds_with_preferences": len(verdicts),
        "learner_tokens_in": _known_mean([e.learner_in for e in last]),
        "learner_tokens_out": _known_mean([e.learner_out for e in last]),
        "answer_tokens_in": mean([e.answer_in for e in last]),
        "answer_tokens_out": mean([e.answer_out for e in last]),
        "rounds_per_second": _per_second(used),
        "adapters": [{"seed": r.seed, "round": r.number + 1, **r.adapter} for c in used for r in c if r.adapter],
        "curve": curve(used),
        "seeds": len(used),
        "rounds": max(chain[0].rounds for chain in used),
        "partial": len(whole) < len(played),
    }


def cost(chain: Iterable[Line]) -> int:
    """Words of all edits."""
    return sum(line.cost for line in chain)


def first_encounters(chain: Played) -> Played:
    """The first round of each kind: a learner that starts from nothing can know nothing there."""
    firsts = {line.kind: line for line in reversed(chain)}
    return [line for line in chain if firsts[line.kind] is line]


def zero_share(used: Iterable[Played]) -> float | None:
    """The share of rounds whose draft needed no edit."""
    return mean([line.cost == 0 for chain in used for line in chain])


def curve(used: Sequence[Played]) -> list[dict[str, Any]]:
    """For each bin of rounds: mean cost, share without an edit, and the mean cumulative cost at its end."""
    points = []
    for start in range(0, max(len(chain) for chain in used), BIN):
        inside = [[r for r in chain if start <= r.number < start + BIN] for chain in used]
        points.append(
            {
                "rounds": [start + 1, max(r.number for c in inside for r in c) + 1],
                "cost": mean([r.cost for c in inside for r in c]),
                "cumulative_cost": mean([cost(r for r in c if r.number < start + BIN) for c in used]),
                "zero_edit": zero_share(inside),
            }
        )
    return points


def later(chain: Played) -> Played:
    """The rounds but the first encounters."""
    firsts = first_encounters(chain)
    return [line for line in chain if line not in firsts]


def ratio(
    ours: Sequence[Played], theirs: Sequence[Played], part: Callable[[Played], Iterable[Line]] = list
) -> float | None:
    """Our cost by theirs over the rounds, of a ``part`` of each chain, that both have played."""
    a, b = ({(r.seed, r.number): r.cost for c in side for r in part(c)} for side in (ours, theirs))
    both = a.keys() & b.keys()
    below = sum(b[key] for key in both)
    return round(sum(a[key] for key in both) / below, 4) if below else None


def changed_kind(chain: Played) -> tuple[Played, Played] | None:
    """The rounds of the kind whose wishes change, before and after; None while no change shows."""
    by_kind: dict[str, Played] = defaultdict(list)
    for line in chain:
        by_kind[line.kind].append(line)
    for rounds in by_kind.values():
        for i, line in enumerate(rounds):
            if set(line.wants) != set(rounds[0].wants):
                return rounds[:i], rounds[i:]
    return None


def recovery(before: Played, after: Played) -> int | None:
    """How many rounds of a changed kind pass before it costs no more than it did; None if that was not seen.

    It does from the first of three successive rounds on that each cost at most ``BACK`` words, or at most the mean of
    the ten rounds before the change.
    """
    least = max(BACK, mean([r.cost for r in before[-10:]]) or 0)
    back = [r.cost <= least for r in after]
    return next((i for i in range(len(back) - 2) if all(back[i : i + 3])), None)


def drift_figures(played: Sequence[Played]) -> dict[str, Any]:
    """How fast the seeds of one arm recover: mean and maximum of those that do, and how many do not."""
    changes = [change for chain in played if (change := changed_kind(chain))]
    took = [recovery(before, after) for before, after in changes]
    recovered = [rounds for rounds in took if rounds is not None]
    return {
        "recovery_rounds_mean": mean(recovered),
        "recovery_rounds_max": max(recovered, default=None),
        "not_recovered": len(took) - len(recovered),
        "cost_after_change": mean([cost(after) for _, after in changes]),
    }


def _per_second(used: Sequence[Played]) -> float | None:
    seconds = sum(r.answer_seconds + r.learn_seconds for chain in used for r in chain)
    return round(sum(map(len, used)) / seconds, 3) if seconds else None


def _spread(name: str, values: Sequence[float]) -> dict[str, float | None]:
    return {f"{name}_mean": mean(values), f"{name}_sd": round(stdev(values), 4) if len(values) > 1 else 0.0}


def mean(values: Sequence[float]) -> float | None:
    """The mean, to four places; None of none."""
    return round(fmean(values), 4) if values else None


def _known_mean(values: Sequence[int | None]) -> float | None:
    """None where a server does not tell."""
    known = [value for value in values if value is not None]
    return mean(known) if len(known) == len(values) else None
