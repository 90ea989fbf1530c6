"""The demo's figures, as a table and as a plot."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

KINDS = ("client", "incident", "review")
STAGES = ("none", "retrieval", "adapter", "retrieval+adapter", "oracle")


@dataclass
class Figures:
    """What the demo reports. Costs are mean normalised word edit distances on the held-out requests."""

    stages: dict[str, float] = field(default_factory=dict)
    rounds: list[dict[str, Any]] = field(default_factory=list)
    requests_during_swap: int = 0
    failed_during_swap: int = 0
    adapter: dict[str, Any] = field(default_factory=dict)
    prompt_tokens: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def show(self, console: Console) -> None:
        """Print the stages, the rounds and the gate's verdict."""
        table = Table(
            "stage", "edit cost", "of none", "prompt tokens", title="Mean edit cost on the same held-out requests"
        )
        none = max(self.stages["none"], 1e-9)
        for name in STAGES:
            cost = self.stages[name]
            table.add_row(name, f"{cost:.3f}", f"{cost / none:.0%}", f"{self.prompt_tokens[name]:.0f}")
        console.print(table)
        console.print("Edit cost by round (each bar one request, from no edit to a full rewrite):")
        console.print("  " + "".join("▁▂▃▄▅▆▇█"[min(7, int(r["cost"] * 8))] for r in self.rounds))
        console.print(
            f"Adapter version {self.adapter['version']}: {self.adapter['report'].get('sentence', 'failed')} "
            f"Requests while it was trained and swapped in: {self.requests_during_swap}, "
            f"failed: {self.failed_during_swap}."
        )

    def plot(self, path: Path) -> None:
        """Draw the cost of each round and of each stage."""
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot

        figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 3.5), width_ratios=(3, 2))
        numbers = [r["round"] for r in self.rounds]
        for kind in KINDS:
            own = [(r["round"], r["cost"]) for r in self.rounds if r["kind"] == kind]
            left.plot([n for n, _ in own], [c for _, c in own], "o", label=kind)
        costs = [r["cost"] for r in self.rounds]
        left.plot(numbers, [mean(costs[max(0, i - 3) : i + 1]) for i in range(len(costs))], color="0.6")
        left.set(xlabel="request", ylabel="edit cost", ylim=(-0.03, 1.03), title="Cost of the user's edit, by request")
        left.legend(fontsize=8)
        right.barh(STAGES[::-1], [self.stages[name] for name in STAGES[::-1]], color="tab:blue")
        right.set(xlabel="mean edit cost", title="Held-out requests")
        figure.tight_layout()
        figure.savefig(path, dpi=130)
        pyplot.close(figure)


def mean(values: Sequence[float]) -> float:
    """The mean, to four places; 0.0 of none."""
    return round(sum(values) / max(len(values), 1), 4)
