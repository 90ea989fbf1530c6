from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from adapters.dataset import build
from adapters.evaluation.arms import Arm, measure
from preference.ports import Generation
from store.errors import EngineRejected, EngineUnavailable
from store.message import Message
from store.values import Value
from tests.adapters.fakes import FakeHost, make_edit

BASE, RETRIEVAL = Arm("base", None, preferences=False), Arm("retrieval", None, preferences=True)
PLAIN, BOTH = Arm("adapter", "u.v1-candidate", False), Arm("retrieval+adapter", "u.v1-candidate", True)


class CountingHost(FakeHost):
    """Counts what is asked of it, by model and by whether the prompt has the preference."""

    def __init__(self, *adapters: str) -> None:
        super().__init__(lambda model, _: "short" if model == "u.v1-candidate" else "far too long")
        self.names = dict.fromkeys(adapters, Path())
        self.asked: Counter[tuple[str, str | None, bool]] = Counter()

    async def generate(self, messages: Sequence[Message], *, max_tokens: int, model: str | None = None) -> Generation:
        assert "Kind" in str(messages)
        self.asked["answer", model, "Be brief." in str(messages)] += 1
        return await super().generate(messages, max_tokens=max_tokens, model=model)

    async def nll(self, messages: Sequence[Message], answer: str, *, model: str | None = None) -> float:
        assert answer in ("short", "a draft")
        self.asked["nll" if answer == "short" else "draft", model, "Be brief." in str(messages)] += 1
        return await super().nll(messages, answer, model=model)


async def test_each_arm_asks_in_its_own_way_and_nothing_twice() -> None:
    edits = [
        make_edit(i, "short", preferences=["Be brief."], values=[Value(preference="Kind")], adapter_version=i % 2 * 3)
        for i in range(8)
    ]
    host = CountingHost("u.v1-candidate", "u.v3-serving")
    serving = Arm("serving", "u.v3-serving", preferences=False, recorded_by=3)
    found = await measure(host, build(edits).held_out, [BASE, RETRIEVAL, serving, PLAIN, BOTH])
    base, _, served, plain, both = found
    assert [arm.same_as for arm in found] == [""] * 5
    assert plain.costs == both.costs == plain.nlls == (0.0,) * 4
    assert min(served.costs) > 0.5
    assert min(served.nlls) > 0.5
    assert sum(base.prompt_tokens) == sum(plain.prompt_tokens) < sum(served.prompt_tokens) < sum(both.prompt_tokens)
    assert served.with_values == (True,) * 4
    assert min(plain.leads) > max(base.leads)  # to it the draft is what is far from the text
    each = {(None, False): 4, (None, True): 4, ("u.v3-serving", False): 2, ("u.v3-serving", True): 2}
    each |= {("u.v1-candidate", False): 4, ("u.v1-candidate", True): 4}
    assert host.asked == {(what, *way): count for what in ("answer", "nll", "draft") for way, count in each.items()}


async def test_arms_that_coincide_are_measured_once_and_say_so() -> None:
    edits = [make_edit(i, "short", values=[Value(preference="Kind")]) for i in range(8)]
    host = CountingHost("u.v1-candidate")
    serving = Arm("serving", None, preferences=True)
    found = await measure(host, build(edits).held_out, [BASE, RETRIEVAL, serving, PLAIN, BOTH])
    assert [arm.same_as for arm in found] == ["", "base", "base", "", "adapter"]
    assert found[0].costs == found[1].costs == found[2].costs
    assert host.asked == {
        (what, model, False): 4 for what in ("answer", "nll", "draft") for model in (None, "u.v1-candidate")
    }


async def test_a_version_that_serves_with_retrieval_is_no_other_arm() -> None:
    held_out = build([make_edit(i, preferences=["Be brief."]) for i in range(8)]).held_out
    host = FakeHost()
    host.names = dict.fromkeys(["u.v1-candidate", "u.v3-serving"], Path())
    serving = Arm("serving", "u.v3-serving", preferences=True)
    found = await measure(host, held_out, [BASE, RETRIEVAL, serving, PLAIN, BOTH])
    assert [arm.same_as for arm in found] == [""] * 5


async def test_a_prompt_that_the_engine_rejects_is_left_out_of_every_arm() -> None:
    held_out = build([make_edit(i) for i in range(30)]).held_out

    def answer(model: str | None, messages: object) -> str:
        if "request 29" in str(messages):
            raise EngineRejected("too long")
        return "x"

    host = FakeHost(answer)
    host.names = {"u.v1-candidate": Path()}
    measured = await measure(host, held_out, [BASE, PLAIN])
    assert [len(arm.costs) for arm in measured] == [5, 5]
    assert [len(arm.with_values) for arm in measured] == [5, 5]


async def test_an_engine_that_is_away_or_a_missing_candidate_is_an_error() -> None:
    held_out = build([make_edit(i) for i in range(8)]).held_out
    host = FakeHost()
    with pytest.raises(EngineRejected):
        await measure(host, held_out, [BASE, PLAIN])
    host.down = True
    with pytest.raises(EngineUnavailable):
        await measure(host, held_out, [BASE])
