"""What people read of a run in the synthetic world: all figures, and the report of them."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lab.prelude import figures
from lab.prelude.accuracy import Accuracy
from lab.prelude.goals import faultless, goals
from lab.prelude.log import Line
from lab.report import Cell, Report, Table, number, number_of, share_of
from preference.ports import Embedder

ARMS = (
    "none", "oracle", "explore-then-exploit", "continual", "icl-edit-5", "cot-edit", "cipher-5", "constant", "attune",
    "attune+adapter",
)  # fmt: skip
"""In the order in which they are shown; others come after."""
MARK = "bench-prelude"
CAPTION = "Cumulative edit cost by round, of all arms and of those that the goals are about"
MET = {None: "not measured", True: "yes", False: "no"}
"""How it is said whether a goal is met."""


def in_order(arms: Iterable[str]) -> list[str]:
    """Arms as they are shown."""
    return sorted(arms, key=lambda arm: (ARMS.index(arm) if arm in ARMS else len(ARMS), arm))


def summarise(
    lines: Sequence[Line], embedder: Embedder | None = None, about: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """All figures of a log, also of an unfinished run; without ``embedder`` no preference accuracy.

    ``environments`` has those of the plain variant, each other variant its own; ``faultless`` of an environment is
    what a faultless learner pays. ``about`` is what ``provenance.about`` says, and goes along as it is.
    """
    accuracy = Accuracy(embedder, lines) if embedder else None
    chains = figures.chains(lines)
    parts: dict[str, dict[str, Any]] = {"plain": {}, "drift": {}, "noise": {}, "habit": {}}
    for variant, environment, arm in sorted(chains, key=lambda key: in_order(ARMS + key[2:]).index(key[2])):
        played = chains[variant, environment, arm]
        held = figures.arm_figures(played, accuracy)
        if variant == "drift":
            held |= figures.drift_figures(played)
        if variant == "noise":
            times = figures.ratio(played, chains.get(("plain", environment, arm), ()))
            held["loss_percent"] = None if times is None else round(100 * (times - 1), 1)
        if environment not in parts[variant]:
            parts[variant][environment] = {"arms": {}, "faultless": faultless(played)}
        parts[variant][environment]["arms"][arm] = held
    summary = {"environments": parts.pop("plain"), **parts}
    every = [arm for part in summary.values() for environment in part.values() for arm in environment["arms"].values()]
    return {
        **summary,
        "goals": goals(chains, summary),
        "partial": any(arm["partial"] for arm in every),
        "rounds_played": len(lines),
        **(about or {}),
    }


def report(summary: Mapping[str, Any]) -> Report:
    """What there is to tell of the figures."""
    blocks: list[str | Table] = [unfinished(summary)] if summary["partial"] else []
    adapters = []
    for part, (title, columns) in _PARTS.items():
        for environment, held in sorted(summary[part].items()):
            rows = [[name_of(arm, f), *(cell(f) for cell in columns.values())] for arm, f in held["arms"].items()]
            least = "" if held["faultless"] is None else f" (a faultless learner pays {number(held['faultless'])})"
            blocks.append(Table(("arm", *columns), rows, f"{environment}{title}, {_size(held)}{least}"))
            adapters += _adapters(environment + title, held)
    if summary["goals"]:
        head = ("goal", "environment", "limit", "figure", "met")
        blocks.append(Table(head, [_goal(goal) for goal in summary["goals"]], "Goals"))
    return [*blocks, *adapters]


def unfinished(summary: Mapping[str, Any]) -> str:
    """What is said of a run that is."""
    return f"This run is not finished: {summary['rounds_played']} rounds were played, and unfinished arms say so."


def name_of(arm: str, figures: Mapping[str, Any]) -> str:
    """An arm in its row."""
    return f"{arm} (unfinished)" if figures["partial"] else arm


def _loss(f: Mapping[str, Any]) -> str:
    return "-" if f["loss_percent"] is None else f"{f['loss_percent']:+.1f}%"


_COST = {"cost": number_of("cumulative_cost_mean"), "± sd": number_of("cumulative_cost_sd")}
_LAST = share_of("zero_edit_last_quarter")
_PARTS: Mapping[str, tuple[str, Mapping[str, Cell]]] = {
    "environments": ("", {
        **_COST, "first": number_of("first_encounters"), "zero-edit": share_of("zero_edit"), "last ¼": _LAST,
        "accuracy": share_of("preference_accuracy"), "learner in": number_of("learner_tokens_in"),
        "learner out": number_of("learner_tokens_out"), "answer in": number_of("answer_tokens_in"),
        "answer out": number_of("answer_tokens_out"), "rounds/s": number_of("rounds_per_second", 2),
    }),
    "drift": (" with drift", {
        **_COST, "changed kind, after": number_of("cost_after_change"),
        "rounds to recover": number_of("recovery_rounds_mean", 1), "slowest": number_of("recovery_rounds_max"),
        "never": number_of("not_recovered"), "zero-edit, last ¼": _LAST,
    }),
    "noise": (" with noise", {**_COST, "above plain": _loss, "zero-edit, last ¼": _LAST}),
    "habit": (" with a habit", {
        **_COST, "zero-edit": share_of("zero_edit"), "last ¼": _LAST, "answer in": number_of("answer_tokens_in"),
    }),
}  # fmt: skip
"""What is said of each part of the summary."""


def _goal(goal: Mapping[str, Any]) -> tuple[str, ...]:
    figure = "-" if goal["figure"] is None else f"{goal['figure']:g}"
    if (apart := goal.get("without_first_encounters")) is not None:
        figure += f" ({apart:g} without first encounters)"
    if (above := goal.get("above_faultless")) is not None:
        figure += f" ({above:g} times a faultless learner with this model)"
    if (loss := goal.get("of_faultless")) is not None:
        figure += f" ({loss:g} of a faultless learner)"
    if goal.get("not_recovered"):
        figure += f" ({goal['not_recovered']} never)"
    return goal["what"], goal["environment"], goal["goal"], figure, MET[goal["met"]]


def _size(held: Mapping[str, Any]) -> str:
    seeds = sorted(f["seeds"] for f in held["arms"].values())
    rounds = max(f["rounds"] for f in held["arms"].values())
    range_of = str(seeds[-1]) if seeds[0] == seeds[-1] else f"{seeds[0]} to {seeds[-1]}"
    return f"{rounds} rounds, {range_of} seed{'s' * (seeds[-1] > 1)}"


def _adapters(where: str, held: Mapping[str, Any]) -> list[str]:
    """What became of the adapters of an environment, in a sentence if it has some."""
    states = Counter(_state(adapter) for f in held["arms"].values() for adapter in f["adapters"])
    counted = ", ".join(f"{n} {state}" for state, n in sorted(states.items()))
    return [f"Adapters trained for {where}: {counted}."] if states else []


def _state(adapter: Mapping[str, Any]) -> str:
    state = str(adapter.get("state", "unknown"))
    return f"{state} as {adapter['mode']}" if state == "ready" and adapter.get("mode") else state
