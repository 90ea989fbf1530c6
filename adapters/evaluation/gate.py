"""Is a candidate adapter better than what serves now, and does it still obey? The verdict, and why, in figures.

Pure: ``arms.py`` and ``instruction_following.py`` measure. Differences to what serves are resampled over edits (paired
bootstrap).

Words and likelihood decide together. A large model words an answer anew for the least reason, so that its word distance
is mostly noise; how likely it finds the user's own text is not, but says nothing of an answer that does not end.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from adapters.evaluation.arms import Measured
from adapters.evaluation.gate_report import (
    ALONE,
    BASE,
    BESIDE,
    CANDIDATES,
    INCUMBENT,
    RETRIEVAL,
    Candidate,
    Compared,
    Figures,
    GateReport,
    ValuesCheck,
)
from adapters.evaluation.instruction_following import Judged
from adapters.evaluation.interval import paired_interval
from adapters.evaluation.sentences import admission, disobedience, refusal

WORSE_BY, WORSE_BY_AT_MOST, TOKEN_SHARE = 0.005, 0.05, 0.9
"""At this share of the prompt tokens an arm may cost this much more on average, and at its interval's upper end."""
LESS_LIKELY_BY = 0.05
"""Nats a token by which the users' texts may be less likely, at the interval's lower end, where costs are but equal."""
LIKELIER_BY = 0.02
"""Nats a token by which they have to be likelier, at the interval's upper end, to be a gain by themselves."""
MIN_MEASURED = 4


def decide(arms: Sequence[Measured], *, seed: int = 0) -> GateReport:
    """Admit the candidate arm that is really better than serving, or as good with clearly fewer prompt tokens.

    Few edits that cost the same do not prove the latter: faults that they happen not to show could cost more than is
    as good (``_unseen``). Where no adapter serves, such a candidate is admitted beside retrieval, if it is as good
    there too, until a later version has the edits to prove it.
    ``arms`` hold ``INCUMBENT`` and some of ``CANDIDATES``; others are compared with serving and reported alike. Among
    admitted arms the one with fewer prompt tokens is preferred, unless it costs more than another one by more than is
    as good, while the users' texts are no likelier to it, or is not proven to do without retrieval. An arm that costs
    more on the edits whose requests stated values is refused: it forgets what was asked for. Where an adapter serves,
    faults that no edit showed weigh on both: its successor is better, too, if its interval ends at 0 and it costs less
    by more than is as good.
    """
    incumbent = next(arm for arm in arms if arm.name == INCUMBENT)
    edits = len(incumbent.costs)
    figures: dict[str, Figures] = {arm.name: Figures(**_means(arm)) for arm in arms}
    if edits < MIN_MEASURED:
        sentence = f"refused: only {edits} held-out edits could be measured, {MIN_MEASURED} are needed."
        return GateReport(edits=edits, arms=figures, edits_needed=MIN_MEASURED, sentence=sentence)
    compared = {arm.name: _compared(arm, incumbent, seed) for arm in arms if arm is not incumbent}
    candidates = [arm for arm in arms if arm.name in CANDIDATES and arm.same_as not in CANDIDATES]
    unseen = _unseen(arms)
    succeeds = not incumbent.same_as  # neither the base model nor retrieval: an adapter serves
    found = {
        arm.name: _promises(compared[arm.name], _values_check(arm, incumbent), unseen, succeeds) for arm in candidates
    }
    if incumbent.same_as == RETRIEVAL and found.keys() == set(CANDIDATES):
        found[BESIDE] = _admit_beside(found[ALONE], found[BESIDE])
    report = GateReport(edits=edits, arms={**figures, **compared, **found}, sentence="")
    admitted = [arm for arm in candidates if found[arm.name].admissible]
    if not admitted:
        best = min(candidates, key=lambda arm: sum(arm.costs))
        return replace(report, sentence=refusal(edits, best.name, found[best.name]))
    as_good = _as_good(admitted)
    unproven = unseen > WORSE_BY_AT_MOST
    chosen = min(as_good, key=lambda arm: (unproven and arm.name == ALONE, sum(arm.prompt_tokens), sum(arm.costs)))
    sentence = admission(edits, figures[INCUMBENT], chosen.name, found)
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
    sentence = disobedience(failed, obedience[failed], report.mode)
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


def _compared(arm: Measured, incumbent: Measured, seed: int) -> Compared:
    figures: dict[str, Any] = {}
    paired = ("", arm.costs, incumbent.costs), ("nll_", arm.nlls, incumbent.nlls), ("lead_", arm.leads, incumbent.leads)
    for prefix, ours, theirs in paired:
        difference, (low, high) = paired_interval(np.asarray(ours) - np.asarray(theirs), seed=seed)
        figures |= {f"{prefix}difference": round(difference, 4), f"{prefix}interval": (round(low, 4), round(high, 4))}
    share = sum(arm.prompt_tokens) / max(1, sum(incumbent.prompt_tokens))
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


def _values_check(arm: Measured, incumbent: Measured) -> ValuesCheck:
    """Edits whose requests stated values, by themselves. The user's text obeys them, so forgetting them costs."""
    stated = [i for i, present in enumerate(incumbent.with_values) if present]
    if not stated:
        return ValuesCheck(edits=0, skipped="no held-out edit has stated values")
    difference = float(np.mean([arm.costs[i] - incumbent.costs[i] for i in stated]))
    return ValuesCheck(edits=len(stated), difference=round(difference, 4), passed=difference <= WORSE_BY_AT_MOST)
