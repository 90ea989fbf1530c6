"""What a run of the gateway's benchmark says: the JSON, the tables and the plot of `docs/gateway.md`."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench import machine
from bench.load import Failures, Figures, best, medians
from lab import report
from lab.report import Report, Table

P99_MS = 50
ARMS = {
    "raw": "engine",
    "raw-fresh": "engine, new texts",
    "raw-prompt": "engine, same prompts",
    "raw-prompt-fresh": "engine, same prompts, new texts",
    "unpersonalised": "Attune, no user",
    "personalised": "Attune, a user",
    "uncached": "Attune, new texts",
    "litellm": "LiteLLM",
    "router": "vllm-router",
}
ENGINES = {
    "mock": "the mock engine",
    "vllm": "vLLM with the bundled model",
    "smollm": "vLLM with SmolLM2-135M-Instruct",
}
SAME = {"personalised": "raw-prompt", "uncached": "raw-prompt-fresh"}
"""Who was asked the same prompts without us."""
COLUMNS = (
    ("answer", "whole", "whole", 1000),
    ("first token", "stream", "first", 1000),
    ("stream", "stream", "whole", 1000),
    ("only token", "first", "first", 1000),
    ("between tokens, µs", "paced", "gap", 1),
    ("a token's way, µs", "paced", "transit", 1),
)
"""Title, measurement, figure, microseconds in its unit."""
DOCS = report.DOCS / "gateway.md"
MARK = "bench-gateway"

Engine = Mapping[str, Any]
"""What was found with one engine: by measurement, then arm."""


def result(
    found: Mapping[str, Mapping[str, Mapping[str, Sequence[Figures]]]], failures: Failures, about: Mapping[str, Any]
) -> dict[str, Any]:
    """The JSON of a run: the figures that matter first, then all there are. Times are microseconds unless named."""
    engines = {engine: _engine(measurements) for engine, measurements in found.items()}
    mock, vllm, smollm = (engines.get(name, {}) for name in ENGINES)
    crowds = {
        f"ttft_ratio{'_new_texts' if arm == 'uncached' else ''}_vs_{name}_same_prompt_{clients}": ratio
        for name, engine in (("smollm", smollm), ("vllm", vllm))
        for arm in SAME
        for clients, ratio in _crowd_ratios(engine, arm).items()
    }
    return {
        **crowds,
        "ttft_ratio_personalised_vs_vllm": _ratio(vllm, "first", "first_p50", "raw"),
        "ttft_ratio_personalised_vs_vllm_same_prompt": _ratio(vllm, "first", "first_p50", "raw-prompt"),
        "throughput_ratio_vs_vllm": _ratio(vllm, "load", "best", "raw"),
        "throughput_ratio_at_any_p99_vs_vllm": _ratio(vllm, "load", "most", "raw"),
        "overhead_ratio_vs_litellm": _overhead(mock, "personalised", "litellm"),
        "overhead_ratio_unpersonalised_vs_litellm": _overhead(mock, "unpersonalised", "litellm"),
        "overhead_ratio_vs_router": _overhead(mock, "personalised", "router"),
        "overhead_ratio_unpersonalised_vs_router": _overhead(mock, "unpersonalised", "router"),
        "inter_token_gap_p50_us": added(mock, "paced", "gap_p50", "personalised"),
        "inter_token_gap_p99_us": added(mock, "paced", "gap_p99", "personalised"),
        "token_transit_p50_us": added(mock, "paced", "transit_p50", "personalised"),
        "token_transit_p99_us": added(mock, "paced", "transit_p99", "personalised"),
        "failures": failures.count.total(),
        "failures_by_arm": dict(failures.count),
        "failure_reasons": failures.reasons,
        **about,
        "engines": engines,
    }


def added(engine: Engine, measurement: str, figure: str, arm: str) -> float | None:
    """How much more ``figure`` is than when the engine was asked raw, with texts as new."""
    baseline = "raw-fresh" if arm == "uncached" and "raw-fresh" in engine.get(measurement, {}) else "raw"
    value, base = (_median(engine, measurement, figure, name) for name in (arm, baseline))
    return None if value is None or base is None else round(value - base, 1)


def parts(result: Mapping[str, Any]) -> Report:
    """The report of a run."""
    named = ", ".join(f"{name} {version}" for name, version in result["versions"].items() if version)
    single = {name: value for name, value in result.items() if "_ratio_" in name or name.endswith("_us")}
    single["failures"] = result["failures"]
    told: list[str | Table] = [
        report.picture("Added latency, added time between tokens, requests per second", DOCS.with_suffix(".png")),
        f"{machine.where(result)}; {named}.",
        Table(["figure", "value"], [[f"`{n}`", "-" if value is None else str(value)] for n, value in single.items()]),
    ]
    for name, engine in result["engines"].items():
        head, rows = _rows(engine, result["failures_by_arm"])
        told.append(Table(head, rows, f"In front of {ENGINES[name]}; ms, p50 / p99"))
        if "crowd" in engine:
            title = "First tokens of so many clients that stream without a pause; ms, p50 / p99"
            told.append(Table(*_crowd_rows(engine), title))
    return told


def plot(result: Mapping[str, Any], path: Path) -> None:
    """Bars of what each gateway adds, and requests per second against p99."""
    name, engine = next(iter(result["engines"].items()))
    gateways = [arm for arm in ARMS if arm in engine["whole"] and not arm.startswith("raw")]
    paced = "paced" in engine
    with report.axes(path, 1, 3, figsize=(13, 3.8)) as (answers, tokens, rates):
        for axes, title, measurement, figure in (
            (answers, "Added to an answer (ms)", "whole", "whole"),
            (tokens, "Added between tokens (ms)", "paced", "gap")
            if paced
            else (tokens, "Added to the first token (ms)", "stream", "first"),
        ):
            for offset, percent in ((-0.2, 50), (0.2, 99)):
                values = [(added(engine, measurement, f"{figure}_p{percent}", arm) or 0) / 1000 for arm in gateways]
                bars = axes.bar([i + offset for i in range(len(gateways))], values, 0.4, label=f"p{percent}")
                axes.bar_label(bars, fmt="%.3g", fontsize=7)
            axes.set_yscale("symlog", linthresh=0.01)  # noise can make a difference negative
            axes.set_title(title)
            axes.margins(y=0.1)
            axes.set_xticks(range(len(gateways)), [ARMS[arm] for arm in gateways], fontsize=8, rotation=15)
            axes.legend(fontsize=8, loc="upper left")
        for arm in ("raw", *gateways) if "load" in engine else ():
            steps = engine["load"][arm]["steps"]
            p99, rate = ([step[name] for step in steps] for name in ("p99_ms", "requests_per_second"))
            rates.plot(p99, rate, "o-", label=ARMS[arm], markersize=3)
        rates.axvline(P99_MS, color="0.7", linestyle="--")
        rates.set(title="Requests per second, by clients", xlabel="p99 (ms)", xscale="log", yscale="log")
        rates.legend(fontsize=8)
        rates.figure.suptitle(f"In front of {ENGINES[name]}", fontsize=10)


def _engine(measurements: Mapping[str, Mapping[str, Sequence[Figures]]]) -> dict[str, Any]:
    def told(name: str, found: Sequence[Figures]) -> dict[str, Any]:
        rounded = [_rounded(one) for one in found]
        if name not in ("load", "crowd"):
            return {"median": _rounded(medians(found)), "blocks": rounded}
        rates = {"best": round(best(found, P99_MS), 1), "most": round(best(found, math.inf), 1)}
        return {"median": rates, "steps": rounded}

    return {name: {arm: told(name, found) for arm, found in arms.items()} for name, arms in measurements.items()}


def _median(engine: Engine, measurement: str, figure: str, arm: str) -> float | None:
    found: float | None = engine.get(measurement, {}).get(arm, {}).get("median", {}).get(figure)
    return found


def _ratio(engine: Engine, measurement: str, figure: str, against: str) -> float | None:
    value, base = (_median(engine, measurement, figure, arm) for arm in ("personalised", against))
    return round(value / base, 4) if value is not None and base else None


def _crowd_ratios(engine: Engine, arm: str) -> dict[int, float | None]:
    """By the number of clients: the median time to the first token over the engine's own for the same prompts."""
    arms = engine.get("crowd", {})
    steps = zip(*(arms.get(name, {"steps": ()})["steps"] for name in (arm, SAME[arm])), strict=True)
    return {int(ours["clients"]): round(ours["first_p50_ms"] / theirs["first_p50_ms"], 4) for ours, theirs in steps}


def _crowd_rows(engine: Engine) -> tuple[list[str], list[list[str]]]:
    arms = {arm: engine["crowd"][arm]["steps"] for arm in ARMS if arm in engine["crowd"]}
    head = ["", *(f"{step['clients']:.0f}" for step in next(iter(arms.values())))]
    return head, [
        [ARMS[arm], *(f"{step['first_p50_ms']:.2f} / {step['first_p99_ms']:.2f}" for step in steps)]
        for arm, steps in arms.items()
    ]


def _overhead(mock: Engine, arm: str, peer: str) -> float | None:
    """Added median latency over a peer's, on the mock engine; of three kinds the one that looks worst."""
    ratios = []
    for _, measurement, figure, _ in COLUMNS[:3]:
        ours, theirs = (added(mock, measurement, f"{figure}_p50", name) for name in (arm, peer))
        if ours is None or not theirs:
            return None
        ratios.append(ours / theirs)
    return round(max(ratios), 4)


def _rows(engine: Engine, failures: Mapping[str, int]) -> tuple[list[str], list[list[str]]]:
    columns = [column for column in COLUMNS if column[1] in engine]
    head = ["", *(column[0] for column in columns), "CPU", *(["requests/s"] if "load" in engine else ()), "failures"]
    rows = []
    for arm, label in ARMS.items():
        if arm not in engine["whole"]:
            continue
        raw = arm.startswith("raw")
        cells = []
        for _, measurement, figure, unit in columns:
            of = _median if raw else added
            values = [of(engine, measurement, f"{figure}_p{percent}", arm) for percent in (50, 99)]
            form = f"{'' if raw else '+'}.{2 if unit > 1 else 0}f"
            cells.append(" / ".join("-" if value is None else f"{value / unit:{form}}" for value in values))
        # What a raw answer costs the engine is spread over processes of its own.
        cpu = None if raw else _median(engine, "whole", "cpu", arm)
        served = [f"{engine['load'][arm]['median']['best']:.0f}"] if "load" in engine else []
        rows.append([label, *cells, "-" if cpu is None else f"{cpu / 1000:.2f}", *served, str(failures.get(arm, 0))])
    return head, rows


def _rounded(figures: Figures) -> Figures:
    return {name: round(value, 2) for name, value in figures.items()}
