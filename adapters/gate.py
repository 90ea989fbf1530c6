"""Is a candidate adapter better than what serves now, and does it still obey? The verdict, and why, in figures.

Pure: ``arms.py`` and ``obedience.py`` measure. Differences to serving are resampled over edits (paired bootstrap).

Words and likelihood decide together. A large model words an answer anew for the least reason, so that its word distance
is mostly noise; how likely it finds the user's own text is not, but says nothing of an answer that does not end.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from adapters.arms import Measured
from adapters.interval import paired_interval

WORSE_BY, WORSE_BY_AT_MOST, TOKEN_SHARE = 0.005, 0.05, 0.9
"""At this share of the prompt tokens an arm may cost this much more on average, and at its interval's upper end."""
LESS_LIKELY_BY = 0.05
"""Nats a token by which the users' texts may be less likely, at the interval's lower end, where costs are but equal."""
LIKELIER_BY = 0.02
"""Nats a token by which they have to be likelier, at the interval's upper end, to be a gain by themselves."""
MIN_MEASURED = 4
BASE, RETRIEVAL, SERVING = "base", "retrieval", "serving"
ALONE, BESIDE = CANDIDATES = "adapter", "retrieval+adapter"


@dataclass(frozen=True)
class Verdict:
    """``mode`` is the best admitted arm's name, empty when refused; ``report`` is JSON-able and has a sentence."""

    admitted: bool
    mode: str
    report: dict[str, Any]


def decide(arms: Sequence[Measured], *, seed: int = 0) -> Verdict:
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
    report: dict[str, Any] = {"edits": len(serving.costs), "arms": {arm.name: _figures(arm) for arm in arms}}
    if len(serving.costs) < MIN_MEASURED:
        sentence = f"refused: only {len(serving.costs)} held-out edits could be measured, {MIN_MEASURED} are needed."
        return _refused(report | {"edits_needed": MIN_MEASURED}, sentence)
    for arm in arms:
        if arm is not serving:
            report["arms"][arm.name] |= _compared(arm, serving, seed)
    candidates = [arm for arm in arms if arm.name in CANDIDATES and arm.same_as not in CANDIDATES]
    unseen = _unseen(arms)
    succeeds = not serving.same_as  # neither the base model nor retrieval: an adapter serves
    for arm in candidates:
        report["arms"][arm.name] |= _promises(report["arms"][arm.name], _values_check(arm, serving), unseen, succeeds)
    if serving.same_as == RETRIEVAL and {arm.name for arm in candidates} == set(CANDIDATES):
        _admit_beside(report["arms"])
    admitted = [arm for arm in candidates if report["arms"][arm.name]["admissible"]]
    if not admitted:
        best = min(candidates, key=lambda arm: sum(arm.costs))
        return _refused(report, _refusal(report, best.name))
    as_good = _as_good(admitted)
    unproven = unseen > WORSE_BY_AT_MOST
    chosen = min(as_good, key=lambda arm: (unproven and arm.name == ALONE, sum(arm.prompt_tokens), sum(arm.costs)))
    report |= {"verdict": "admitted", "mode": chosen.name, "sentence": _admission(report, chosen.name)}
    return Verdict(True, chosen.name, report)


def _as_good(admitted: Sequence[Measured]) -> list[Measured]:
    """Those that cost as little as the one that costs least, or are clearly surer of the users' texts than that is."""
    least = min(admitted, key=lambda arm: sum(arm.costs))
    return [
        arm
        for arm in admitted
        if np.mean(arm.costs) <= np.mean(least.costs) + WORSE_BY
        or np.mean(arm.nlls) < np.mean(least.nlls) - LESS_LIKELY_BY
    ]


def confirm(verdict: Verdict, obedience: Mapping[str, Mapping[str, Any]]) -> Verdict:
    """An admission, unless the candidate failed a kind of the regression set: ``obedience`` has the rows by kind."""
    report = {**verdict.report, "obedience": dict(obedience)}
    failed = next((kind for kind, row in obedience.items() if not row["passed"]), None)
    if failed is None or not verdict.admitted:
        return Verdict(verdict.admitted, verdict.mode, report)
    del report["mode"]
    return _refused(report, _disobedience(failed, obedience[failed], verdict.mode))


def _refused(report: dict[str, Any], sentence: str) -> Verdict:
    return Verdict(False, "", {**report, "verdict": "refused", "sentence": sentence})


def _figures(arm: Measured) -> dict[str, Any]:
    if not arm.costs:
        return {}
    return {
        "cost": round(float(np.mean(arm.costs)), 4),
        "nll": round(float(np.mean(arm.nlls)), 4),
        "lead": round(float(np.mean(arm.leads)), 4),
        "prompt_tokens": round(float(np.mean(arm.prompt_tokens)), 1),
        **({"same_as": arm.same_as} if arm.same_as else {}),
    }


def _compared(arm: Measured, serving: Measured, seed: int) -> dict[str, Any]:
    """An arm's differences to serving, each with its interval."""
    figures: dict[str, Any] = {}
    for prefix, ours, theirs in (
        ("", arm.costs, serving.costs),
        ("nll_", arm.nlls, serving.nlls),
        ("lead_", arm.leads, serving.leads),
    ):
        difference, (low, high) = _difference(ours, theirs, seed)
        figures |= {f"{prefix}difference": round(difference, 4), f"{prefix}interval": [round(low, 4), round(high, 4)]}
    share = sum(arm.prompt_tokens) / max(1, sum(serving.prompt_tokens))
    return {**figures, "token_share": round(share, 3)}


def _unseen(arms: Sequence[Measured]) -> float:
    """What faults that no held-out edit showed could cost on average: that of the base model, as often as may be.

    Of n edits without a fault, the share of faults is still up to 1 - 0.05^(1/n) at 95% confidence, about 3/n (Hanley
    and Lippman-Hand, JAMA 249, 1983). A bootstrap of equal costs knows nothing of them: its interval is [0, 0].
    """
    base = next((arm.costs for arm in arms if arm.name == BASE), (1.0,))
    return round(float((1 - 0.05 ** (1 / len(arms[0].costs))) * np.mean(base)), 4)


def _admit_beside(figures: dict[str, dict[str, Any]]) -> None:
    """Admit the candidate beside retrieval if alone it is as good with fewer tokens, but for what is unseen."""
    alone, beside = figures[ALONE], figures[BESIDE]
    only_unproven = alone["as_good_with_fewer_tokens"] and not (alone["proven"] or alone["better"])
    good = all(one["as_good"] and not one["less_likely"] and _passed(one) for one in (alone, beside))
    beside["until_proven"] = only_unproven and good and not beside["better"]
    beside["admissible"] |= beside["until_proven"]


def _passed(figures: Mapping[str, Any]) -> bool:
    return bool(figures["values_check"].get("passed", True))


def _promises(figures: Mapping[str, Any], values: dict[str, Any], unseen: float, succeeds: bool) -> dict[str, Any]:
    """What a candidate can be admitted for. Decided by the figures as they are reported, so that they explain it.

    It is better if it costs clearly less, unless the likelihood contradicts: texts that are clearly less likely, and no
    further ahead of their drafts. A preference loss makes both of its texts less likely (arXiv 2410.08847), and the
    lead grows. It is better, too, if the users' texts are clearly likelier, their lead over the drafts grows clearly,
    and the words do not speak against it. Costs that do not differ prove little, and texts that are clearly less likely
    say that they would differ where more is sampled.
    """
    low, high = figures["interval"]
    costs_less = high < 0 or (succeeds and high == 0 and figures["difference"] < -WORSE_BY)
    less_likely = figures["nll_interval"][0] > LESS_LIKELY_BY
    contradicted = less_likely and figures["lead_difference"] <= 0
    likelier = figures["nll_interval"][1] < -LIKELIER_BY and figures["lead_interval"][0] > 0
    likelier = likelier and low <= 0 and figures["difference"] <= WORSE_BY_AT_MOST
    better = (costs_less and not contradicted) or likelier
    as_good = figures["difference"] <= WORSE_BY and high <= WORSE_BY_AT_MOST
    cheaper = as_good and figures["token_share"] <= TOKEN_SHARE
    proven = unseen <= WORSE_BY_AT_MOST
    return {
        "better": better,
        "costs_less": costs_less,
        "likelier": likelier,
        "contradicted": contradicted,
        "as_good": as_good,
        "as_good_with_fewer_tokens": cheaper,
        "unseen": unseen,
        "proven": proven,
        "less_likely": less_likely,
        "values_check": values,
        "admissible": (better or (cheaper and proven and not less_likely)) and values.get("passed", True),
    }


def _difference(ours: Sequence[float], theirs: Sequence[float], seed: int) -> tuple[float, tuple[float, float]]:
    return paired_interval(np.asarray(ours) - np.asarray(theirs), seed=seed)


def _values_check(arm: Measured, serving: Measured) -> dict[str, Any]:
    """Edits whose requests stated values, by themselves. The user's text obeys them, so forgetting them costs."""
    stated = [i for i, present in enumerate(serving.with_values) if present]
    if not stated:
        return {"edits": 0, "skipped": "no held-out edit has stated values"}
    difference = float(np.mean([arm.costs[i] - serving.costs[i] for i in stated]))
    return {"edits": len(stated), "difference": round(difference, 4), "passed": difference <= WORSE_BY_AT_MOST}


def _refusal(report: Mapping[str, Any], arm: str) -> str:
    figures = report["arms"][arm]
    low, high = figures["interval"]
    if (figures["better"] or figures["as_good_with_fewer_tokens"]) and not _passed(figures):
        checked = figures["values_check"]
        return (
            f"refused: on the {checked['edits']} held-out edits with stated values {arm} costs "
            f"{checked['difference']:.2f} more than {SERVING}."
        )
    more = figures["difference"]
    said = (
        f"refused: on {report['edits']} held-out edits {arm} costs {abs(more):.2f} {'more' if more >= 0 else 'less'} "
        f"than {SERVING}, interval [{low:.2f}, {high:.2f}], at {figures['token_share']:.0%} of its prompt tokens"
        f"; {_likelihood(figures)}"
    )
    if figures["as_good_with_fewer_tokens"] and not figures["less_likely"]:
        said += f"; so few edits do not rule out faults that cost {figures['unseen']:.3f} on average"
    return f"{said}."


def _likelihood(figures: Mapping[str, Any]) -> str:
    """What the texts' likelihood says, as a clause."""
    (low, high), (least, most) = figures["nll_interval"], figures["lead_interval"]
    less = figures["nll_difference"] > 0
    span = f"[{low:.2f}, {high:.2f}]" if less else f"[{0 - high:.2f}, {0 - low:.2f}]"
    which = "less likely" if less else "likelier"
    return (
        f"the user's texts are {which} to it by {span} nats a token, and their lead over the drafts changes by "
        f"[{least:.2f}, {most:.2f}]"
    )


def _admission(report: Mapping[str, Any], arm: str) -> str:
    figures, before = report["arms"][arm], report["arms"][SERVING]
    low, high = figures["interval"]
    proof = ""
    if figures.get("until_proven"):
        share = report["arms"][ALONE]["token_share"]
        proof = (
            f" By itself it may do as well at {share:.0%} of them, but faults that so few edits do not show could cost "
            f"{figures['unseen']:.3f} on average."
        )
    likely = "" if figures["costs_less"] or not figures["likelier"] else " That decides: costs alone do not."
    return (
        f"admitted as {arm}: on {report['edits']} held-out edits it costs {figures['cost']:.3f} where {SERVING} "
        f"costs {before['cost']:.3f} (difference [{low:.3f}, {high:.3f}]), at {figures['token_share']:.0%} of its "
        f"prompt tokens; {_likelihood(figures)}.{likely}{proof}"
    )


def _disobedience(kind: str, row: Mapping[str, Any], arm: str) -> str:
    counted = f" ({row['obeyed']} of the {row['obeyed_by_base']} that the base model obeys)" if "obeyed" in row else ""
    return (
        f"refused: its costs would do, but {arm} obeys {kind} clearly less than the base model does{counted}: "
        f"right texts are {row['lift']:.2f} nats a token likelier under their own instruction than under another, "
        f"to the base model {row['lift_of_base']:.2f}."
    )
