"""Is a candidate adapter better than what serves now, and does it still obey? The verdict, and why, in figures.

Pure: ``arms.py`` and ``obedience.py`` measure. Differences to serving are resampled over edits (paired bootstrap).

Words and likelihood decide together. A large model words an answer anew for the least reason, so that its word distance
is mostly noise; how likely it finds the user's own text is not, but says nothing of an answer that does not end.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

from adapters.arms import Measured
from adapters.interval import paired_interval
from adapters.obedience import Judged

WORSE_BY, WORSE_BY_AT_MOST, TOKEN_SHARE = 0.005, 0.05, 0.9
"""At this share of the prompt tokens an arm may cost this much more on average, and at its interval's upper end."""
LESS_LIKELY_BY = 0.05
"""Nats a token by which the users' texts may be less likely, at the interval's lower end, where costs are but equal."""
LIKELIER_BY = 0.02
"""Nats a token by which they have to be likelier, at the interval's upper end, to be a gain by themselves."""
MIN_MEASURED = 4
BASE, RETRIEVAL, SERVING = "base", "retrieval", "serving"
ALONE, BESIDE = CANDIDATES = "adapter", "retrieval+adapter"


Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class ValuesCheck:
    """The edits whose requests stated values, by themselves; ``skipped`` says why there is no difference."""

    edits: int
    difference: float | None = None
    passed: bool | None = None
    skipped: str = ""


@dataclass(frozen=True, kw_only=True)
class Figures:
    """An arm's means over the edits; None where none was measured."""

    cost: float | None = None
    nll: float | None = None
    lead: float | None = None
    prompt_tokens: float | None = None
    same_as: str = ""


@dataclass(frozen=True, kw_only=True)
class Compared(Figures):
    """With its differences to serving, each with its interval."""

    difference: float
    interval: Interval
    nll_difference: float
    nll_interval: Interval
    lead_difference: float
    lead_interval: Interval
    token_share: float


@dataclass(frozen=True, kw_only=True)
class Candidate(Compared):
    """With what it can be admitted for; ``until_proven`` is told of the one beside retrieval alone."""

    better: bool
    costs_less: bool
    likelier: bool
    contradicted: bool
    as_good: bool
    as_good_with_fewer_tokens: bool
    unseen: float
    proven: bool
    less_likely: bool
    values_check: ValuesCheck
    admissible: bool
    until_proven: bool | None = None

    @property
    def keeps_values(self) -> bool:
        """Whether it obeys stated values, as far as that can be told."""
        return self.values_check.passed is not False


@dataclass(frozen=True, kw_only=True)
class GateReport:
    """The verdict, in the words and the order in which it is stored and shown. ``mode`` is the best admitted arm's."""

    edits: int
    arms: Mapping[str, Figures]
    edits_needed: int | None = None
    verdict: Literal["admitted", "refused"] = "refused"
    mode: str = ""
    sentence: str
    obedience: Mapping[str, Judged] | None = None
    gate_seconds: float | None = None

    @property
    def admitted(self) -> bool:
        """Whether the candidate is."""
        return self.verdict == "admitted"

    def as_json(self) -> dict[str, Any]:
        """What is stored: without what is not there."""
        return asdict(self, dict_factory=lambda members: {k: v for k, v in members if v is not None and v != ""})


def decide(arms: Sequence[Measured], *, seed: int = 0) -> GateReport:
    """Admit the candidate arm that is really better than serving, or as good with clearly fewer prompt tokens.

    Few edits that cost the same do not prove the latter: faults that they happen not to show could cost more than is
    as good (``_unseen``). Where no adapter serves, such a candidate is admitted beside retrieval, if it is as good
    there too, until a later version has the edits to prove it.
    ``arms`` hold ``SERVING`` and some of ``CANDIDATES``; others are compared with serving and reported alike. Among
    admitted arms the one with fewer prompt tokens is preferred, unless it costs more than another one by more than is
    as good, while the users' texts are no likelier to it, or is not proven to do without retrieval. An arm that costs
    more on the edits whose requests stated values is refused: it forgets what was asked for. Where an adapter serves,
    faults that no edit showed weigh on both: its successor is better, too, if its interval ends at 0 and it costs less
    by more than is as good.
    """
    serving = next(arm for arm in arms if arm.name == SERVING)
    edits = len(serving.costs)
    figures: dict[str, Figures] = {arm.name: Figures(**_means(arm)) for arm in arms}
    if edits < MIN_MEASURED:
        sentence = f"refused: only {edits} held-out edits could be measured, {MIN_MEASURED} are needed."
        return GateReport(edits=edits, arms=figures, edits_needed=MIN_MEASURED, sentence=sentence)
    compared = {arm.name: _compared(arm, serving, seed) for arm in arms if arm is not serving}
    candidates = [arm for arm in arms if arm.name in CANDIDATES and arm.same_as not in CANDIDATES]
    unseen = _unseen(arms)
    succeeds = not serving.same_as  # neither the base model nor retrieval: an adapter serves
    found = {
        arm.name: _promises(compared[arm.name], _values_check(arm, serving), unseen, succeeds) for arm in candidates
    }
    if serving.same_as == RETRIEVAL and found.keys() == set(CANDIDATES):
        found[BESIDE] = _admit_beside(found[ALONE], found[BESIDE])
    report = GateReport(edits=edits, arms={**figures, **compared, **found}, sentence="")
    admitted = [arm for arm in candidates if found[arm.name].admissible]
    if not admitted:
        best = min(candidates, key=lambda arm: sum(arm.costs))
        return replace(report, sentence=_refusal(edits, best.name, found[best.name]))
    as_good = _as_good(admitted)
    unproven = unseen > WORSE_BY_AT_MOST
    chosen = min(as_good, key=lambda arm: (unproven and arm.name == ALONE, sum(arm.prompt_tokens), sum(arm.costs)))
    sentence = _admission(edits, figures[SERVING], chosen.name, found)
    return replace(report, verdict="admitted", mode=chosen.name, sentence=sentence)


def _as_good(admitted: Sequence[Measured]) -> list[Measured]:
    """Those that cost as little as the one that costs least, or are clearly surer of the users' texts than that is."""
    least = min(admitted, key=lambda arm: sum(arm.costs))
    return [
        arm
        for arm in admitted
        if np.mean(arm.costs) <= np.mean(least.costs) + WORSE_BY
        or np.mean(arm.nlls) < np.mean(least.nlls) - LESS_LIKELY_BY
    ]


def confirm(report: GateReport, obedience: Mapping[str, Judged]) -> GateReport:
    """An admission, unless the candidate failed a kind of the regression set: ``obedience`` has the rows by kind."""
    report = replace(report, obedience=obedience)
    failed = next((kind for kind, row in obedience.items() if not row.passed), None)
    if failed is None or not report.admitted:
        return report
    sentence = _disobedience(failed, obedience[failed], report.mode)
    return replace(report, verdict="refused", mode="", sentence=sentence)


def _means(arm: Measured) -> dict[str, Any]:
    if not arm.costs:
        return {}
    return {
        "cost": round(float(np.mean(arm.costs)), 4),
        "nll": round(float(np.mean(arm.nlls)), 4),
        "lead": round(float(np.mean(arm.leads)), 4),
        "prompt_tokens": round(float(np.mean(arm.prompt_tokens)), 1),
        "same_as": arm.same_as,
    }


def _compared(arm: Measured, serving: Measured, seed: int) -> Compared:
    figures: dict[str, Any] = {}
    paired = ("", arm.costs, serving.costs), ("nll_", arm.nlls, serving.nlls), ("lead_", arm.leads, serving.leads)
    for prefix, ours, theirs in paired:
        difference, (low, high) = paired_interval(np.asarray(ours) - np.asarray(theirs), seed=seed)
        figures |= {f"{prefix}difference": round(difference, 4), f"{prefix}interval": (round(low, 4), round(high, 4))}
    share = sum(arm.prompt_tokens) / max(1, sum(serving.prompt_tokens))
    return Compared(**_means(arm), **figures, token_share=round(share, 3))


def _unseen(arms: Sequence[Measured]) -> float:
    """What faults that no held-out edit showed could cost on average: that of the base model, as often as may be.

    Of n edits without a fault, the share of faults is still up to 1 - 0.05^(1/n) at 95% confidence, about 3/n (Hanley
    and Lippman-Hand, JAMA 249, 1983). A bootstrap of equal costs knows nothing of them: its interval is [0, 0].
    """
    base = next((arm.costs for arm in arms if arm.name == BASE), (1.0,))
    return round(float((1 - 0.05 ** (1 / len(arms[0].costs))) * np.mean(base)), 4)


def _admit_beside(alone: Candidate, beside: Candidate) -> Candidate:
    """The candidate beside retrieval, admitted if alone it is as good with fewer tokens, but for what is unseen."""
    only_unproven = alone.as_good_with_fewer_tokens and not (alone.proven or alone.better)
    good = all(one.as_good and not one.less_likely and one.keeps_values for one in (alone, beside))
    until_proven = only_unproven and good and not beside.better
    return replace(beside, until_proven=until_proven, admissible=beside.admissible or until_proven)


def _promises(figures: Compared, values: ValuesCheck, unseen: float, succeeds: bool) -> Candidate:
    """What a candidate can be admitted for. Decided by the figures as they are reported, so that they explain it.

    It is better if it costs clearly less, unless the likelihood contradicts: texts that are clearly less likely, and no
    further ahead of their drafts. A preference loss makes both of its texts less likely (arXiv 2410.08847), and the
    lead grows. It is better, too, if the users' texts are clearly likelier, their lead over the drafts grows clearly,
    and the words do not speak against it. Costs that do not differ prove little, and texts that are clearly less likely
    say that they would differ where more is sampled.
    """
    low, high = figures.interval
    costs_less = high < 0 or (succeeds and high == 0 and figures.difference < -WORSE_BY)
    less_likely = figures.nll_interval[0] > LESS_LIKELY_BY
    contradicted = less_likely and figures.lead_difference <= 0
    likelier = figures.nll_interval[1] < -LIKELIER_BY and figures.lead_interval[0] > 0
    likelier = likelier and low <= 0 and figures.difference <= WORSE_BY_AT_MOST
    better = (costs_less and not contradicted) or likelier
    as_good = figures.difference <= WORSE_BY and high <= WORSE_BY_AT_MOST
    cheaper = as_good and figures.token_share <= TOKEN_SHARE
    proven = unseen <= WORSE_BY_AT_MOST
    return Candidate(
        **vars(figures),
        better=better, costs_less=costs_less, likelier=likelier, contradicted=contradicted,
        as_good=as_good, as_good_with_fewer_tokens=cheaper, unseen=unseen, proven=proven, less_likely=less_likely,
        values_check=values,
        admissible=(better or (cheaper and proven and not less_likely)) and values.passed is not False,
    )  # fmt: skip


def _values_check(arm: Measured, serving: Measured) -> ValuesCheck:
    """Edits whose requests stated values, by themselves. The user's text obeys them, so forgetting them costs."""
    stated = [i for i, present in enumerate(serving.with_values) if present]
    if not stated:
        return ValuesCheck(edits=0, skipped="no held-out edit has stated values")
    difference = float(np.mean([arm.costs[i] - serving.costs[i] for i in stated]))
    return ValuesCheck(edits=len(stated), difference=round(difference, 4), passed=difference <= WORSE_BY_AT_MOST)


def _refusal(edits: int, arm: str, figures: Candidate) -> str:
    low, high = figures.interval
    if (figures.better or figures.as_good_with_fewer_tokens) and not figures.keeps_values:
        checked = figures.values_check
        return (
            f"refused: on the {checked.edits} held-out edits with stated values {arm} costs "
            f"{checked.difference:.2f} more than {SERVING}."
        )
    more = figures.difference
    said = (
        f"refused: on {edits} held-out edits {arm} costs {abs(more):.2f} {'more' if more >= 0 else 'less'} "
        f"than {SERVING}, interval [{low:.2f}, {high:.2f}], at {figures.token_share:.0%} of its prompt tokens"
        f"; {_likelihood(figures)}"
    )
    if figures.as_good_with_fewer_tokens and not figures.less_likely:
        said += f"; so few edits do not rule out faults that cost {figures.unseen:.3f} on average"
    return f"{said}."


def _likelihood(figures: Compared) -> str:
    """What the texts' likelihood says, as a clause."""
    (low, high), (least, most) = figures.nll_interval, figures.lead_interval
    less = figures.nll_difference > 0
    span = f"[{low:.2f}, {high:.2f}]" if less else f"[{0 - high:.2f}, {0 - low:.2f}]"
    which = "less likely" if less else "likelier"
    return (
        f"the user's texts are {which} to it by {span} nats a token, and their lead over the drafts changes by "
        f"[{least:.2f}, {most:.2f}]"
    )


def _admission(edits: int, before: Figures, arm: str, found: Mapping[str, Candidate]) -> str:
    figures = found[arm]
    low, high = figures.interval
    proof = ""
    if figures.until_proven:
        share = found[ALONE].token_share
        proof = (
            f" By itself it may do as well at {share:.0%} of them, but faults that so few edits do not show could cost "
            f"{figures.unseen:.3f} on average."
        )
    likely = "" if figures.costs_less or not figures.likelier else " That decides: costs alone do not."
    return (
        f"admitted as {arm}: on {edits} held-out edits it costs {figures.cost:.3f} where {SERVING} "
        f"costs {before.cost:.3f} (difference [{low:.3f}, {high:.3f}]), at {figures.token_share:.0%} of its "
        f"prompt tokens; {_likelihood(figures)}.{likely}{proof}"
    )


def _disobedience(kind: str, row: Judged, arm: str) -> str:
    counted = f" ({row.obeyed} of the {row.obeyed_by_base} that the base model obeys)" if row.obeyed is not None else ""
    return (
        f"refused: its costs would do, but {arm} obeys {kind} clearly less than the base model does{counted}: "
        f"right texts are {row.lift:.2f} nats a token likelier under their own instruction than under another, "
        f"to the base model {row.lift_of_base:.2f}."
    )
