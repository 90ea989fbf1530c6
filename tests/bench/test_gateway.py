"""The gateway's benchmark end to end, without timing anything: a real Attune over the mock engine."""

import json
import re
from pathlib import Path
from typing import Any

from rich.console import Console

from bench import gateway_report, servers
from bench.arms import NOTES, Arm
from bench.gateway import measure
from bench.load import Failures, ManyClients, OneClient, best, medians, percentile, times
from bench.profile_gateway import RATE, read
from bench.servers import Server
from lab import report
from lab.child import free_port

SMALL: dict[str, OneClient | ManyClients] = {
    "whole": OneClient(tokens=3, blocks=1, requests=5),
    "stream": OneClient(tokens=3, blocks=1, requests=5),
    "paced": OneClient(tokens=3, blocks=1, requests=5),
    "load": ManyClients(tokens=3, blocks=1, clients=(1, 2), seconds=0.1),
    "crowd": ManyClients(tokens=3, blocks=1, clients=(1, 3), seconds=0.1),
}


async def test_a_small_run_measures_every_arm(tmp_path: Path) -> None:
    result = await measure({"mock": SMALL}, Console(quiet=True), with_litellm=False, with_router=False)

    assert result["failures"] == 0, result["failure_reasons"]
    engine = result["engines"]["mock"]
    for measurement in ("whole", "stream", "paced", "load"):
        assert set(engine[measurement]) == {"raw", "unpersonalised", "personalised", "uncached"}
    assert engine["crowd"].keys() == {"raw", "personalised", "uncached"}
    assert [step["clients"] for step in engine["crowd"]["personalised"]["steps"]] == [1, 3]
    assert all(step["first_p50_ms"] > 0 for step in engine["crowd"]["personalised"]["steps"])
    assert engine["whole"]["personalised"]["median"]["whole_p50"] > 0
    assert engine["stream"]["personalised"]["median"]["first_p50"] > 0
    assert result["inter_token_gap_p99_us"] is not None
    assert result["overhead_ratio_vs_litellm"] is None  # it was not asked
    assert result["ttft_ratio_personalised_vs_vllm"] is None
    assert result["machine"]["cores"] > 0

    plot = tmp_path / "run.png"
    gateway_report.plot(result, plot)
    assert plot.stat().st_size
    assert "| Attune, a user |" in report.markdown(gateway_report.parts(result))


async def test_what_is_not_answered_is_a_failure_of_its_arm(tmp_path: Path) -> None:
    async with servers.mock_engine(tmp_path) as engine:
        arms = [Arm("raw", engine), Arm("litellm", Server("gone", free_port(), engine.pid))]
        failures = Failures()
        found = await times(
            arms, OneClient(tokens=1, blocks=2, requests=4, warm=1), failures, lambda: None, stream=False
        )
    assert len(found["raw"]) == 2
    assert found["litellm"] == []
    assert failures.count == {"litellm": 12}
    assert failures.reasons["litellm"]


def test_ratios_compare_what_was_added() -> None:
    def block(whole: float) -> list[dict[str, float]]:
        return [{"whole_p50": whole, "first_p50": whole, "gap_p50": whole, "gap_p99": 2 * whole}]

    arms = {
        "raw": block(10), "unpersonalised": block(20), "personalised": block(30), "litellm": block(210),
        "router": block(20),
    }  # fmt: skip
    steps = [{"clients": 1.0, "requests_per_second": 5.0, "p50_ms": 1.0, "p99_ms": 2.0}]
    crowd = {
        arm: [{"clients": 8.0, "first_p50_ms": first, "first_p99_ms": 9.0, "requests_per_second": 1.0, "p99_ms": 9.0}]
        for arm, first in (("raw-prompt", 4.0), ("raw-prompt-fresh", 8.0), ("personalised", 5.0), ("uncached", 12.0))
    }
    found = {
        engine: {
            "whole": arms,
            "stream": arms,
            "first": arms,
            "paced": arms,
            "load": dict.fromkeys(arms, steps),
            "crowd": crowd,
        }
        for engine in ("mock", "vllm")
    }
    about: dict[str, Any] = {"machine": {}, "versions": {}}
    result = gateway_report.result(found, Failures(), about)
    assert result["overhead_ratio_vs_litellm"] == 0.1
    assert result["overhead_ratio_unpersonalised_vs_litellm"] == 0.05
    assert result["overhead_ratio_vs_router"] == 2
    assert result["ttft_ratio_vs_vllm_same_prompt_8"] == 1.25
    assert result["ttft_ratio_new_texts_vs_vllm_same_prompt_8"] == 1.5
    assert result["ttft_ratio_personalised_vs_vllm"] == 3
    assert result["throughput_ratio_vs_vllm"] == 1
    assert (result["inter_token_gap_p50_us"], result["inter_token_gap_p99_us"]) == (20, 40)


def test_statistics() -> None:
    assert percentile([3, 1, 2], 50) == 2
    assert percentile(list(range(1, 101)), 99) == 99
    assert percentile([7], 99) == 7
    assert medians([{"a": 1}, {"a": 9}, {"a": 2}]) == {"a": 2}
    steps = [
        {"requests_per_second": 100.0, "p99_ms": 10.0},
        {"requests_per_second": 300.0, "p99_ms": 49.0},
        {"requests_per_second": 900.0, "p99_ms": 51.0},
    ]
    assert best(steps, 50) == 300
    assert best(steps, 1) == 0


def test_a_profile_counts_work_and_not_waiting() -> None:
    stacks = [
        "thread (1): Main;run (a.py:1);work (a.py:9) 30",
        "thread (1): Main;run (a.py:1) 10",
        "thread (1): Main;run (a.py:1);EpollSelector.select (selectors.py:451) 500",
        "thread (2): pool;_worker (concurrent/futures/thread.py:69) 500",
    ]
    found = read(stacks, requests=1_000_000 / RATE)  # so that a sample is a microsecond a request
    assert found.own == {"work (a.py:9)": 30, "run (a.py:1)": 10}
    assert found.total == {"run (a.py:1)": 40, "work (a.py:9)": 30}
    assert found.threads == {"thread (1): Main": 40}


def test_the_document_names_every_arm() -> None:
    text = gateway_report.DOCS.read_text()
    assert [label for label in gateway_report.ARMS.values() if label not in text] == []


def test_a_new_text_is_new_where_attune_would_have_it() -> None:
    prompt = ({"role": "user", "content": f"Write.\n{NOTES}\n\n<preferences>\n- Short.\n</preferences>"},)
    asked = Arm("raw-prompt-fresh", Server("engine", 1, 1), fresh=True, prompts=(prompt,))
    requests = asked.requests(stream=False, tokens=1)
    sent = [json.loads(next(requests).partition(b"\r\n\r\n")[2])["messages"] for _ in range(2)]
    assert sent[0] != sent[1]
    for (message,) in sent:
        assert re.search(f"{re.escape(NOTES)}\nreference: \\d+\n\n<preferences>\n", message["content"])
