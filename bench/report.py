"""What a run of the gateway's benchmark says: the JSON, the table, the plot, and their place in `docs/gateway.md`."""

import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.measure import Failures, Figures, best, medians
from bench.servers import ROOT

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
DOCS = ROOT / "docs" / "gateway.md"
BEGIN, END = "<!-- bench-gateway -->", "<!-- /bench-gateway -->"

Found = Mapping[str, Mapping[str, Mapping[str, Sequence[Figures]]]]


def result(found: Found, failures: Failures, about: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON of a run: the figures that matter first, then all there are. Times are microseconds unless named."""
    engines = {engine: _engine(measurements) for engine, measurements in found.items()}
    mock, vllm, smollm = (engines.get(name) for name in ENGINES)
    crowds = {
        f"ttft_ratio{'_new_texts' if arm == 'uncached' else ''}_vs_{name}_same_prompt_{clients}": ratio
        for name, engine in (("smollm", smollm), ("vllm", vllm))
        for arm in SAME
        for clients, ratio in _crowd_ratios(engine, arm).items()
    }
    return {
        **crowds,
        "ttft_ratio_personalised_vs_vllm": _ratio(vllm, "first", "first_p50", "personalised", "raw"),
        "ttft_ratio_personalised_vs_vllm_same_prompt": _ratio(vllm, "first", "first_p50", "personalised", "raw-prompt"),
        "throughput_ratio_vs_vllm": _ratio(vllm, "load", "best", "personalised", "raw"),
        "throughput_ratio_at_any_p99_vs_vllm": _ratio(vllm, "load", "most", "personalised", "raw"),
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


def added(engine: Mapping[str, Any] | None, measurement: str, figure: str, arm: str) -> float | None:
    """How much more ``figure`` is than when the engine was asked raw, with texts as new."""
    if engine is None:
        return None
    arms = engine.get(measurement, {})
    baseline = "raw-fresh" if arm == "uncached" and "raw-fresh" in arms else "raw"
    values = [arms.get(name, {}).get("median", {}).get(figure) for name in (arm, baseline)]
    return None if None in values else round(values[0] - values[1], 1)


def show(result: Mapping[str, Any], console: Console) -> None:
    """Print the figures as tables."""
    for engine, measurements in result["engines"].items():
        head, rows = _rows(measurements, result["failures_by_arm"])
        _show(f"{ENGINES[engine]}: ms, p50 / p99; what gateways add", head, rows, console)
        if "crowd" in measurements:
            _show("first tokens of so many streams, ms, p50 / p99", *_crowd_rows(measurements), console)
    for name, value in headlines(result).items():
        console.print(f"{name}: {value}", highlight=False)


def headlines(result: Mapping[str, Any]) -> dict[str, Any]:
    """The single figures at the top of a result."""
    return {name: value for name, value in result.items() if "_ratio_" in name or name.endswith("_us")} | {
        "failures": result["failures"]
    }


def _show(title: str, head: Sequence[str], rows: Sequence[Sequence[str]], console: Console) -> None:
    table = Table(title=title, title_justify="left")
    for name in head:
        table.add_column(name, no_wrap=name == "", overflow="fold", justify="right" if name else "left")
    for label, *cells in rows:
        table.add_row(label, *(cell.replace(" / ", "\n") for cell in cells))
    console.print(table)


def write_docs(result: Mapping[str, Any], plot_file: Path, docs: Path = DOCS) -> None:
    """Put the tables of ``result`` between the marks in ``docs``, and the plot beside it."""
    before, rest = docs.read_text().split(BEGIN)
    docs.write_text(f"{before}{BEGIN}\n{markdown(result)}\n{END}{rest.split(END)[1]}")
    shutil.copyfile(plot_file, docs.with_suffix(".png"))


def markdown(result: Mapping[str, Any]) -> str:
    """The tables of ``result``."""
    machine, versions = result["machine"], result["versions"]
    named = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    lines = [
        f"![Added latency, added time between tokens, requests per second]({DOCS.stem}.png)",
        "",
        f"{result['date']}, commit {result['commit']}, {machine['cores']} cores of {machine['processor']} "
        f"(load {machine['load_average_1m']} before the run); {named}.",
        "",
        "| figure | value |",
        "|---|---|",
        *(f"| `{name}` | {'-' if value is None else value} |" for name, value in headlines(result).items()),
    ]
    for engine, measurements in result["engines"].items():
        head, rows = _rows(measurements, result["failures_by_arm"])
        lines += ["", f"In front of {ENGINES[engine]}; ms, p50 / p99:", ""]
        lines += [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]
        if "crowd" in measurements:
            head, rows = _crowd_rows(measurements)
            lines += ["", "First tokens of so many clients that stream without a pause; ms, p50 / p99:", ""]
            lines += [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]
    return "\n".join(lines)


def plot(result: Mapping[str, Any], path: Path) -> None:
    """Bars of what each gateway adds, and requests per second against p99."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, places = pyplot.subplots(1, 3, figsize=(13, 3.8))
    engine_name, engine = next(iter(result["engines"].items()))
    gateways = [arm for arm in ARMS if arm in engine["whole"] and not arm.startswith("raw")]
    panels = (
        (places[0], "Added to an answer (ms)", "whole", "whole"),
        (places[1], "Added between tokens (ms)", "paced", "gap")
        if "paced" in engine
        else (places[1], "Added to the first token (ms)", "stream", "first"),
    )
    for axes, title, measurement, name in panels:
        for offset, percent in ((-0.2, 50), (0.2, 99)):
            values = [(added(engine, measurement, f"{name}_p{percent}", arm) or 0) / 1000 for arm in gateways]
            bars = axes.bar([i + offset for i in range(len(gateways))], values, 0.4, label=f"p{percent}")
            axes.bar_label(bars, fmt="%.3g", fontsize=7)
        axes.set_yscale("symlog", linthresh=0.01)  # noise can make a difference negative
        axes.set_title(title)
        axes.margins(y=0.1)
        axes.set_xticks(range(len(gateways)), [ARMS[arm] for arm in gateways], fontsize=8, rotation=15)
        axes.legend(fontsize=8, loc="upper left")
    for arm in ("raw", *gateways) if "load" in engine else ():
        steps = engine["load"][arm]["steps"]
        places[2].plot(
            [s["p99_ms"] for s in steps], [s["requests_per_second"] for s in steps], "o-", label=ARMS[arm], markersize=3
        )
    places[2].axvline(P99_MS, color="0.7", linestyle="--")
    places[2].set(title="Requests per second, by clients", xlabel="p99 (ms)", xscale="log", yscale="log")
    places[2].legend(fontsize=8)
    figure.suptitle(f"In front of {ENGINES[engine_name]}", fontsize=10)
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


def _engine(measurements: Mapping[str, Mapping[str, Sequence[Figures]]]) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for name, arms in measurements.items():
        if name in ("load", "crowd"):
            told[name] = {
                arm: {
                    "median": {"best": round(best(steps, P99_MS), 1), "most": round(best(steps, math.inf), 1)},
                    "steps": [_rounded(step) for step in steps],
                }
                for arm, steps in arms.items()
            }
        else:
            told[name] = {
                arm: {"median": _rounded(medians(blocks)), "blocks": [_rounded(block) for block in blocks]}
                for arm, blocks in arms.items()
            }
    return told


def _ratio(engine: Mapping[str, Any] | None, measurement: str, figure: str, arm: str, against: str) -> float | None:
    if engine is None or measurement not in engine:
        return None
    value, base = (engine[measurement].get(name, {}).get("median", {}).get(figure) for name in (arm, against))
    return round(value / base, 4) if value is not None and base else None


def _crowd_ratios(engine: Mapping[str, Any] | None, arm: str) -> dict[int, float | None]:
    """By the number of clients: the median time to the first token over the engine's own for the same prompts."""
    arms = (engine or {}).get("crowd", {})
    steps = zip(*(arms.get(name, {"steps": ()})["steps"] for name in (arm, SAME[arm])), strict=True)
    return {int(ours["clients"]): round(ours["first_p50_ms"] / theirs["first_p50_ms"], 4) for ours, theirs in steps}


def _crowd_rows(engine: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    arms = {arm: engine["crowd"][arm]["steps"] for arm in ARMS if arm in engine["crowd"]}
    head = ["", *(f"{step['clients']:.0f}" for step in next(iter(arms.values())))]
    return head, [
        [ARMS[arm], *(f"{step['first_p50_ms']:.2f} / {step['first_p99_ms']:.2f}" for step in steps)]
        for arm, steps in arms.items()
    ]


def _overhead(mock: Mapping[str, Any] | None, arm: str, peer: str) -> float | None:
    """Added median latency over a peer's, on the mock engine; of three kinds the one that looks worst."""
    ratios = []
    for _, measurement, figure, _ in COLUMNS[:3]:
        ours, theirs = (added(mock, measurement, f"{figure}_p50", name) for name in (arm, peer))
        if ours is None or not theirs:
            return None
        ratios.append(ours / theirs)
    return round(max(ratios), 4)


def _rows(engine: Mapping[str, Any], failures: Mapping[str, int]) -> tuple[list[str], list[list[str]]]:
    columns = [column for column in COLUMNS if column[1] in engine]
    head = ["", *(column[0] for column in columns), "CPU", *(["requests/s"] if "load" in engine else ()), "failures"]
    rows = []
    for arm, label in ARMS.items():
        if arm not in engine["whole"]:
            continue
        cells = []
        for _, measurement, figure, unit in columns:
            names = [f"{figure}_p{percent}" for percent in (50, 99)]
            if arm.startswith("raw"):
                values = [engine[measurement][arm]["median"].get(name) for name in names]
            else:
                values = [added(engine, measurement, name, arm) for name in names]
            form = f"{'' if arm.startswith('raw') else '+'}.{2 if unit > 1 else 0}f"
            cells.append(" / ".join("-" if value is None else f"{value / unit:{form}}" for value in values))
        # What a raw answer costs the engine is spread over processes of its own.
        cpu = None if arm.startswith("raw") else engine["whole"][arm]["median"].get("cpu")
        served = [f"{engine['load'][arm]['median']['best']:.0f}"] if "load" in engine else []
        rows.append([label, *cells, "-" if cpu is None else f"{cpu / 1000:.2f}", *served, str(failures.get(arm, 0))])
    return head, rows


def _rounded(figures: Figures) -> Figures:
    return {name: round(value, 2) for name, value in figures.items()}
