import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.evaluation.arms import Measured
from adapters.evaluation.gate import confirm, decide
from adapters.evaluation.gate_report import GateReport
from adapters.evaluation.instruction_following import Judged

SOME_NLL = 0.5
ROW: dict[str, Any] = {"tried": 12, "obeyed_by_base": 9, "obeyed": 2, "lift_of_base": 0.4, "lift": 0.05}


def arm(
    name: str,
    costs: Sequence[float],
    tokens: int = 100,
    nlls: Sequence[float] | None = None,
    values: bool = False,
    same_as: str = "",
    leads: Sequence[float] | None = None,
) -> Measured:
    n = len(costs)
    return Measured(
        name, tuple(costs), tuple(nlls or [SOME_NLL] * n), tuple(leads or [0.0] * n), (tokens,) * n, (values,) * n,
        same_as,
    )  # fmt: skip


def refused(verdict: GateReport) -> bool:
    return not verdict.admitted and not verdict.mode and verdict.as_json()["verdict"] == "refused"


def test_a_real_gain_is_admitted() -> None:
    verdict = decide([arm("serving", [0.3, 0.2, 0.4, 0.3]), arm("adapter", [0.1, 0.05, 0.2, 0.1])])
    assert verdict.admitted
    assert verdict.mode == verdict.as_json()["mode"] == "adapter"
    assert verdict.as_json()["arms"]["adapter"]["interval"][1] < 0
    assert verdict.as_json()["sentence"].startswith("admitted as adapter: on 4 held-out edits it costs 0.11")


def test_four_edits_must_agree() -> None:
    assert refused(decide([arm("serving", [0.9, 0.9, 0.9, 0.1]), arm("adapter", [0.1, 0.1, 0.1, 0.11])]))


def test_a_loss_is_refused_with_figures() -> None:
    verdict = decide([arm("serving", [0.1] * 8), arm("adapter", [0.2, 0.25, 0.2, 0.15, 0.2, 0.3, 0.25, 0.2], 50)])
    assert refused(verdict)
    assert verdict.as_json()["sentence"].startswith("refused: on 8 held-out edits adapter costs 0.12 more than serving")


@pytest.mark.parametrize(
    ("same_as", "before", "admitted"), [("", 0.7, True), ("", 0.05, False), ("retrieval", 0.7, False)]
)
def test_a_successor_need_only_mend_what_the_serving_version_gets_wrong(
    same_as: str, before: float, admitted: bool
) -> None:
    """One edit of twelve differs: of an adapter that serves it shows a fault, of retrieval it proves no gain."""
    serving, candidate = arm("serving", [before, *[0.0] * 11], same_as=same_as), arm("adapter", [0.0] * 12)
    verdict = decide([serving, candidate])
    assert verdict.as_json()["arms"]["adapter"]["interval"][1] == 0
    assert verdict.admitted is verdict.as_json()["arms"]["adapter"]["better"] is admitted


def test_a_successor_that_is_worse_somewhere_must_be_better_for_sure() -> None:
    assert refused(decide([arm("serving", [0.7, *[0.1] * 11]), arm("adapter", [0.0, 0.15, *[0.1] * 10])]))


ENOUGH = 32
"""Edits of equal cost that prove as much where the base model costs half."""


def test_as_good_needs_clearly_fewer_tokens() -> None:
    base, same = arm("base", [0.5] * ENOUGH), [0.1, 0.2] * (ENOUGH // 2)
    assert decide([base, arm("serving", same, 100), arm("adapter", same, 90)]).admitted
    assert refused(decide([base, arm("serving", same, 100), arm("adapter", same, 91)]))


def test_as_good_needs_edits_enough_to_rule_out_what_they_do_not_show() -> None:
    def verdict(edits: int) -> GateReport:
        same = [0.1] * edits
        return decide([arm("base", [0.5] * edits), arm("serving", same), arm("adapter", same, 50)])

    assert [verdict(edits).admitted for edits in (8, 24, ENOUGH, 48)] == [False, False, True, True]
    assert verdict(24).as_json()["sentence"].endswith("so few edits do not rule out faults that cost 0.059 on average.")
    assert verdict(24).as_json()["arms"]["adapter"]["unseen"] == pytest.approx(0.5 * 3 / 24, rel=0.1)


def beside(
    costs: Sequence[float] = (0.0,) * 12, same_as: str = "retrieval", nll: float = SOME_NLL, values: bool = False
) -> GateReport:
    return decide(
        [
            arm("base", [0.5] * 12, 50),
            arm("retrieval", [0.0] * 12),
            arm("serving", [0.0] * 12, same_as=same_as, values=values),
            arm("adapter", [0.0] * 12, 50),
            arm("retrieval+adapter", costs, nlls=[nll] * 12),
        ]
    )


def test_until_then_a_first_adapter_serves_beside_retrieval_where_it_is_as_good_too() -> None:
    verdict = beside()
    assert verdict.mode == "retrieval+adapter"
    assert verdict.as_json()["arms"]["retrieval+adapter"]["until_proven"]
    assert verdict.as_json()["sentence"].endswith(
        "lead over the drafts changes by [0.00, 0.00]. By itself it may do as well at 50% of them, but faults that so "
        "few edits do not show could cost 0.111 on average."
    )
    assert refused(beside(costs=[0.01] * 12))
    assert refused(beside(nll=SOME_NLL + 0.1))
    assert refused(beside(same_as=""))  # an adapter that serves gives way to a gain, or to a proof


def test_what_is_unproven_has_to_obey_all_the_same() -> None:
    with_values = (False,) * 11 + (True,)
    arms = [
        Measured(name, costs, (0.5,) * 12, (0.0,) * 12, (tokens,) * 12, with_values, same_as)
        for name, costs, tokens, same_as in (
            ("base", (0.5,) * 12, 50, ""),
            ("serving", (0.05,) * 12, 100, "retrieval"),
            ("adapter", (0.05,) * 12, 50, ""),
            ("retrieval+adapter", (0.04,) * 11 + (0.15,), 100, ""),
        )
    ]
    verdict = decide(arms)
    assert verdict.as_json()["arms"]["retrieval+adapter"]["values_check"]["passed"] is False
    assert refused(verdict)
    failed = confirm(beside(), {"values": Judged(**ROW, passed=False)})
    assert refused(failed)
    assert "retrieval+adapter obeys values clearly less" in failed.as_json()["sentence"]


def test_a_base_model_without_fault_leaves_nothing_to_prove() -> None:
    verdict = decide([arm("base", [0.0] * 8), arm("serving", [0.0] * 8), arm("adapter", [0.0] * 8, 50)])
    assert verdict.as_json()["arms"]["adapter"]["unseen"] == 0
    assert verdict.mode == "adapter"


def test_as_good_needs_texts_that_are_as_likely_and_a_gain_does_not() -> None:
    same, surprised = [0.1] * 6, [0.9, 0.8, 0.7, 0.9, 0.8, 0.9]
    verdict = decide([arm("serving", same), arm("adapter", same, 50, surprised)])
    assert refused(verdict)
    assert verdict.as_json()["arms"]["adapter"]["less_likely"]
    assert "the user's texts are less likely to it by [0.25, 0.40] nats a token" in verdict.as_json()["sentence"]
    ahead = decide([arm("serving", same), arm("adapter", [0.0] * 6, 50, surprised, leads=[0.1] * 6)])
    assert ahead.admitted  # as a preference loss does: both texts are less likely, the draft more so
    behind = decide([arm("serving", same), arm("adapter", [0.0] * 6, 50, surprised)])
    assert refused(behind)
    assert behind.as_json()["arms"]["adapter"]["contradicted"]


LIKELY, AHEAD = [0.4, 0.35, 0.42, 0.38, 0.4, 0.36], [0.05, 0.2, 0.1, 0.15, 0.1, 0.2]
NOISY, REWORDED = [0.5, 0.3, 0.6, 0.4, 0.5, 0.3], [0.4, 0.5, 0.45, 0.5, 0.35, 0.45]


def test_where_words_are_noise_the_likelihood_decides() -> None:
    verdict = decide([arm("serving", NOISY), arm("adapter", REWORDED, 100, LIKELY, leads=AHEAD)])
    assert verdict.mode == "adapter"
    assert not verdict.as_json()["arms"]["adapter"]["costs_less"]
    assert "likelier to it by [0." in verdict.as_json()["sentence"]
    assert verdict.as_json()["sentence"].endswith("That decides: costs alone do not.")


def test_to_be_surer_of_whatever_is_written_is_no_gain() -> None:
    """Texts are likelier, and so are the drafts: an adapter that learned nothing from the edits."""
    verdict = decide([arm("serving", NOISY), arm("adapter", REWORDED, 100, LIKELY)])
    assert refused(verdict)
    assert "their lead over the drafts changes by [0.00, 0.00]" in verdict.as_json()["sentence"]


def test_likelier_texts_do_not_make_up_for_answers_that_cost_more() -> None:
    """Such as answers that do not end."""
    longer = [cost + 0.2 for cost in NOISY]
    assert refused(decide([arm("serving", NOISY), arm("adapter", longer, 100, LIKELY, leads=AHEAD)]))


def test_of_two_arms_the_one_that_is_clearly_surer_is_not_lost_for_a_reworded_answer() -> None:
    plain = arm("adapter", [0.3] * 6, 100, [0.45] * 6, leads=AHEAD)
    beside = arm("retrieval+adapter", [0.32] * 6, 120, [0.3] * 6, leads=AHEAD)
    assert decide([arm("base", [0.5] * 6), arm("serving", [0.4] * 6), plain, beside]).mode == "retrieval+adapter"


def test_noise_is_no_gain() -> None:
    costs = [0.1, 0.5, 0.1, 0.5, 0.1, 0.5]
    assert refused(decide([arm("serving", costs), arm("adapter", costs[::-1])]))


def test_a_rare_disaster_is_not_as_good() -> None:
    base = arm("base", [0.1] * 12)
    assert decide([base, arm("serving", [0.05] * 12, 100), arm("adapter", [0.0] * 11 + [0.05], 50)]).admitted
    verdict = decide([base, arm("serving", [0.05] * 12, 100), arm("adapter", [0.0] * 11 + [0.6], 50)])
    assert verdict.as_json()["arms"]["adapter"]["interval"][1] > 0.05
    assert refused(verdict)


def test_fewer_tokens_win_among_those_that_are_as_good() -> None:
    base, serving = arm("base", [0.5] * ENOUGH), arm("serving", [0.5] * ENOUGH, 100)
    plain, both = arm("adapter", [0.1] * ENOUGH, 60), arm("retrieval+adapter", [0.096] * ENOUGH, 100)
    assert decide([base, serving, plain, both]).mode == "adapter"
    better = arm("retrieval+adapter", [0.09] * ENOUGH, 100)
    assert decide([base, serving, plain, better]).mode == "retrieval+adapter"


def test_of_two_gains_on_few_edits_the_one_with_retrieval_serves() -> None:
    arms = [arm("base", [0.5] * 6), arm("serving", [0.5] * 6), arm("adapter", [0.1] * 6, 60)]
    assert decide(arms).mode == "adapter"
    assert decide([*arms, arm("retrieval+adapter", [0.104] * 6)]).mode == "retrieval+adapter"
    assert decide([*arms, arm("retrieval+adapter", [0.2] * 6)]).mode == "adapter"


def test_an_arm_that_is_another_one_is_no_candidate_of_its_own() -> None:
    serving, plain = arm("serving", [0.5] * 6, 100, same_as="base"), arm("adapter", [0.1] * 6, 60)
    verdict = decide([serving, plain, arm("retrieval+adapter", [0.1] * 6, 60, same_as="adapter")])
    assert verdict.mode == "adapter"
    assert verdict.as_json()["arms"]["serving"]["same_as"] == "base"
    assert "better" not in verdict.as_json()["arms"]["retrieval+adapter"]


def test_every_arm_is_compared_with_serving() -> None:
    arms = [arm("base", [0.9] * 6), arm("retrieval", [0.4] * 6), arm("serving", [0.3] * 6), arm("adapter", [0.1] * 6)]
    table = decide(arms).as_json()["arms"]
    assert {name: row.get("difference") for name, row in table.items()} == {
        "base": 0.6,
        "retrieval": 0.1,
        "serving": None,
        "adapter": -0.2,
    }
    assert all(row["nll"] == SOME_NLL for row in table.values())


def test_forgetting_stated_values_is_refused() -> None:
    with_values = (False,) * 10 + (True,) * 2
    serving = Measured("serving", (0.5,) * 10 + (0.0,) * 2, (0.5,) * 12, (0.0,) * 12, (100,) * 12, with_values)
    candidate = Measured("adapter", (0.0,) * 10 + (0.3,) * 2, (0.5,) * 12, (0.0,) * 12, (60,) * 12, with_values)
    verdict = decide([serving, candidate])
    assert verdict.as_json()["arms"]["adapter"]["values_check"]["passed"] is False
    assert refused(verdict)


def test_a_real_gain_that_forgets_stated_values_is_refused_for_that() -> None:
    with_values = (False,) * 30 + (True,) * 2
    serving = Measured("serving", (0.5,) * 30 + (0.0,) * 2, (0.5,) * 32, (0.0,) * 32, (100,) * 32, with_values)
    candidate = Measured("adapter", (0.0,) * 30 + (0.3,) * 2, (0.5,) * 32, (0.0,) * 32, (60,) * 32, with_values)
    verdict = decide([serving, candidate])
    assert verdict.as_json()["arms"]["adapter"]["better"]
    assert refused(verdict)
    assert "2 held-out edits with stated values adapter costs 0.30 more" in verdict.as_json()["sentence"]


def test_the_report_says_when_values_could_not_be_checked() -> None:
    verdict = decide([arm("serving", [0.5] * 6), arm("adapter", [0.1] * 6)])
    assert verdict.as_json()["arms"]["adapter"]["values_check"]["skipped"]


@pytest.mark.parametrize("measured", [0, 3])
def test_too_few_measured_edits_are_refused(measured: int) -> None:
    verdict = decide([arm("serving", [0.5] * measured), arm("adapter", [0.0] * measured)])
    assert refused(verdict)
    assert f"only {measured} held-out edits" in verdict.as_json()["sentence"]
    assert (verdict.as_json()["edits"], verdict.as_json()["edits_needed"]) == (measured, 4)


def test_an_admission_stands_where_the_regression_set_is_passed_and_falls_where_it_is_not() -> None:
    admitted = decide([arm("serving", [0.5] * 6), arm("adapter", [0.1] * 6)])
    passed = confirm(admitted, {"values": Judged(**ROW, passed=True)})
    assert (passed.admitted, passed.mode) == (True, "adapter")
    assert passed.as_json() == {**admitted.as_json(), "obedience": {"values": {**ROW, "passed": True}}}
    failed = confirm(admitted, {"values": Judged(**ROW, passed=True), "system message": Judged(**ROW, passed=False)})
    assert refused(failed)
    assert failed.as_json()["obedience"]["system message"]["passed"] is False
    assert failed.as_json()["sentence"] == (
        "refused: its costs would do, but adapter obeys system message clearly less than the base model does (2 of "
        "the 9 that the base model obeys): right texts are 0.05 nats a token likelier under their own instruction "
        "than under another, to the base model 0.40."
    )
    unchecked = {key: value for key, value in ROW.items() if key != "obeyed"}
    assert (
        "2 of the 9" not in confirm(admitted, {"own values": Judged(**unchecked, passed=False)}).as_json()["sentence"]
    )


_edit = st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 20), st.floats(0, 20), st.floats(-5, 5), st.booleans())


@given(st.lists(_edit, max_size=40), st.integers(1, 200))
def test_verdicts_are_readable_json_and_hold_what_they_promise(
    edits: list[tuple[float, float, float, float, float, bool]], tokens: int
) -> None:
    before, costs, nlls_before, nlls, leads, with_values = zip(*edits, strict=True) if edits else ((),) * 6
    serving = Measured("serving", before, nlls_before, (0.0,) * len(edits), (100,) * len(edits), with_values)
    candidate = Measured("adapter", costs, nlls, leads, (tokens,) * len(edits), with_values)
    base = arm("base", [0.1] * len(edits))  # faults of little cost: a few edits prove that there are few enough
    verdict = decide([serving, candidate, base])
    assert verdict == decide([serving, candidate, base])
    json.dumps(verdict.as_json(), allow_nan=False)
    assert verdict.as_json()["verdict"] == ("admitted" if verdict.admitted else "refused")
    assert verdict.as_json()["sentence"].startswith(verdict.as_json()["verdict"])
    if verdict.admitted:
        assert len(edits) >= 4
        likelier = np.mean(candidate.nlls) < np.mean(serving.nlls) and np.mean(leads) > 0
        assert np.mean(candidate.costs) <= np.mean(serving.costs) + (0.05 if likelier else 0.02) + 1e-4
        assert np.mean(candidate.costs) < np.mean(serving.costs) or tokens <= 90 or likelier
        valued = [e[1] - e[0] for e in edits if e[5]]
        assert not valued or np.mean(valued) <= 0.05 + 1e-4


@given(st.lists(_edit, min_size=4, max_size=20), st.integers(1, 200), st.integers(0, 3))
def test_a_candidate_that_costs_less_on_every_edit_is_no_worse_off(
    edits: list[tuple[float, float, float, float, float, bool]], tokens: int, spared: int
) -> None:
    def decided(better_by: float) -> GateReport:
        costs = tuple(max(0.0, e[1] - better_by) for e in edits)
        none = (False,) * len(edits)
        nlls = tuple(e[2] for e in edits)
        leads = (0.0,) * len(edits)
        serving = Measured("serving", tuple(e[0] for e in edits), nlls, leads, (100,) * len(edits), none)
        candidate = Measured("adapter", costs, nlls, leads, (tokens,) * len(edits), none)
        return decide([arm("base", [0.1] * len(edits)), serving, candidate])

    if decided(0.0).admitted:
        assert decided(0.1 * spared).admitted


@pytest.mark.parametrize("edits", [4, 6, 8, 16, 48])
def test_a_candidate_that_is_as_good_is_seldom_taken_for_better(edits: int) -> None:
    rng = np.random.default_rng(edits)
    admitted = 0
    for _ in range(200):
        serving, candidate = rng.beta(1, 3, edits), rng.beta(1, 3, edits)
        admitted += decide([arm("serving", list(serving)), arm("adapter", list(candidate))]).admitted
    assert admitted / 200 <= (0.11 if edits == 4 else 0.06)  # four that all agree: 1 in 16 by chance
