import json

import numpy as np
import pytest
from adapter_fakes import FakeHost, make_edit
from hypothesis import given
from hypothesis import strategies as st

from adapters.dataset import build
from adapters.gate import Arm, Measured, decide, measure, paired_interval
from preference.errors import EngineRejected, EngineUnavailable
from preference.values import Value


def arm(name: str, costs: list[float], tokens: int = 100, values: bool = False) -> Measured:
    return Measured(name, tuple(costs), (tokens,) * len(costs), (values,) * len(costs))


def test_a_real_gain_is_admitted() -> None:
    verdict = decide(arm("serving", [0.3, 0.2, 0.4, 0.3]), [arm("adapter", [0.1, 0.05, 0.2, 0.1])])
    assert verdict.admitted
    assert verdict.mode == "adapter"
    assert verdict.report["arms"]["adapter"]["interval"][1] < 0
    assert verdict.report["sentence"].startswith("admitted as adapter: on 4 held-out edits it costs 0.11")


def test_a_loss_is_refused_with_figures() -> None:
    verdict = decide(arm("serving", [0.1] * 8), [arm("adapter", [0.2, 0.25, 0.2, 0.15, 0.2, 0.3, 0.25, 0.2], 50)])
    assert not verdict.admitted
    assert verdict.mode == ""
    assert verdict.report["sentence"].startswith("refused: on 8 held-out edits adapter costs 0.12 more than serving")


def test_as_good_needs_clearly_fewer_tokens() -> None:
    same = [0.1, 0.2, 0.0, 0.1, 0.2, 0.1]
    assert decide(arm("serving", same, 100), [arm("adapter", same, 90)]).admitted
    assert not decide(arm("serving", same, 100), [arm("adapter", same, 91)]).admitted


def test_noise_is_no_gain() -> None:
    costs = [0.1, 0.5, 0.1, 0.5, 0.1, 0.5]
    assert not decide(arm("serving", costs), [arm("adapter", costs[::-1])]).admitted


def test_a_rare_disaster_is_not_as_good() -> None:
    serving, candidate = [0.05] * 12, [0.0] * 11 + [0.9]
    verdict = decide(arm("serving", serving, 100), [arm("adapter", candidate, 50)])
    figures = verdict.report["arms"]["adapter"]
    assert figures["interval"][1] > 0.05
    assert not verdict.admitted


def test_fewer_tokens_win_unless_the_other_is_really_better() -> None:
    serving = arm("serving", [0.5] * 6, 100)
    plain, both = arm("adapter", [0.1] * 6, 60), arm("retrieval+adapter", [0.1] * 5 + [0.05], 100)
    assert decide(serving, [plain, both]).mode == "adapter"
    better = arm("retrieval+adapter", [0.02] * 6, 100)
    assert decide(serving, [plain, better]).mode == "retrieval+adapter"


def test_forgetting_stated_values_is_refused() -> None:
    serving = Measured("serving", (0.5,) * 10 + (0.0,) * 2, (100,) * 12, (False,) * 10 + (True,) * 2)
    candidate = Measured("adapter", (0.0,) * 10 + (0.3,) * 2, (60,) * 12, serving.with_values)
    verdict = decide(serving, [candidate])
    assert verdict.report["arms"]["adapter"]["better"]
    assert not verdict.admitted
    assert "2 held-out edits with stated values adapter costs 0.30 more" in verdict.report["sentence"]


def test_the_report_says_when_values_could_not_be_checked() -> None:
    verdict = decide(arm("serving", [0.5] * 6), [arm("adapter", [0.1] * 6)])
    assert verdict.report["arms"]["adapter"]["values_check"]["skipped"]


def test_too_few_measured_edits_are_refused() -> None:
    verdict = decide(arm("serving", [0.5] * 3), [arm("adapter", [0.0] * 3)])
    assert not verdict.admitted
    assert "only 3 held-out edits" in verdict.report["sentence"]


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=4, max_size=40), st.integers(1, 200))
def test_verdicts_are_readable_json_and_hold_what_they_promise(costs: list[tuple[float, float]], tokens: int) -> None:
    serving, candidate = arm("serving", [a for a, _ in costs]), arm("adapter", [b for _, b in costs], tokens)
    verdict = decide(serving, [candidate])
    assert verdict == decide(serving, [candidate])
    json.dumps(verdict.report, allow_nan=False)
    assert verdict.report["verdict"] == ("admitted" if verdict.admitted else "refused")
    if verdict.admitted:
        assert np.mean(candidate.costs) <= np.mean(serving.costs) + 0.02 + 1e-9


def test_the_interval_covers_a_normal_mean() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for seed in range(200):
        _, (low, high) = paired_interval(rng.normal(0.3, 1.0, 40), seed=seed, resamples=500)
        hits += low <= 0.3 <= high
    assert 0.88 <= hits / 200 <= 0.99


async def test_measuring_asks_each_arm_in_its_own_way() -> None:
    edits = [
        make_edit(i, "short", preferences=["Be brief."], values=[Value(preference="Kind")], adapter_version=i % 2 * 3)
        for i in range(8)
    ]
    held_out = build(edits).held_out
    asked: list[tuple[str | None, bool]] = []

    def answer(model: str | None, messages: object) -> str:
        asked.append((model, "Be brief." in str(messages)))
        assert "Kind" in str(messages)
        return "short" if model == "u.v1-candidate" else "far too long"

    host = FakeHost(answer)
    host.names = dict.fromkeys(["u.v1-candidate", "u.v3-serving"])  # type: ignore[assignment]
    arms = [
        Arm("serving", "u.v3-serving", preferences=False, recorded_by=3),
        Arm("adapter", "u.v1-candidate", preferences=False),
        Arm("retrieval+adapter", "u.v1-candidate", preferences=True),
    ]
    serving, plain, both = await measure(host, held_out, arms)
    assert plain.costs == both.costs == (0.0,) * 4
    assert min(serving.costs) > 0.5
    assert sum(plain.prompt_tokens) < sum(serving.prompt_tokens) < sum(both.prompt_tokens)
    assert serving.with_values == (True,) * 4
    assert sorted(asked, key=str) == sorted(
        [("u.v3-serving", False), ("u.v3-serving", True), ("u.v1-candidate", False), ("u.v1-candidate", True)] * 2
        + [("u.v1-candidate", False), ("u.v1-candidate", True)] * 2,
        key=str,
    )


async def test_a_prompt_that_the_engine_rejects_is_left_out_of_every_arm() -> None:
    held_out = build([make_edit(i) for i in range(30)]).held_out

    def answer(model: str | None, messages: object) -> str:
        if "request 29" in str(messages):
            raise EngineRejected("too long")
        return "x"

    measured = await measure(FakeHost(answer), held_out, [Arm("serving", None, True), Arm("adapter", None, False)])
    assert [len(arm.costs) for arm in measured] == [5, 5]


async def test_an_engine_that_is_away_or_a_missing_candidate_is_an_error() -> None:
    held_out = build([make_edit(i) for i in range(8)]).held_out
    host = FakeHost()
    with pytest.raises(EngineRejected):
        await measure(host, held_out, [Arm("serving", None, True), Arm("adapter", "missing", False)])
    host.down = True
    with pytest.raises(EngineUnavailable):
        await measure(host, held_out, [Arm("serving", None, True)])
