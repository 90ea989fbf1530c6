"""The demo's figures, as a table and as a plot."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.report import Report, Table, axes

STAGES = ("none", "retrieval", "adapter", "retrieval+adapter", "oracle")
NOT_MEASURED = "not measured: the adapter was not admitted"
TITLE = "Mean edit cost on the same held-out requests"
ENOUGH = 0.35
"""Of the cost without learning: what retrieval shall cost at most."""


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

    @property
    def of_none(self) -> float:
        """What retrieval costs, by what it costs without learning."""
        return self.stages["retrieval"] / max(self.stages["none"], 1e-9)

    @property
    def lowered(self) -> bool:
        """Whether an adapter was admitted, and the arm that serves costs less than retrieval."""
        return self.stages.get(self.adapter["mode"] or "", 1.0) < self.stages["retrieval"]

    def report(self) -> Report:
        """The stages, the rounds and the gate's verdict."""
        none = max(self.stages["none"], 1e-9)
        rows = [
            (name, f"{self.stages[name]:.3f}", f"{self.stages[name] / none:.0%}", f"{self.prompt_tokens[name]:.0f}")
            if name in self.stages
            else (name, NOT_MEASURED, "", "")
            for name in STAGES
        ]
        bars = "".join("▁▂▃▄▅▆▇█"[min(7, int(r["cost"] * 8))] for r in self.rounds)
        return [
            Table(("stage", "edit cost", "of none", "prompt tokens"), rows, TITLE),
            f"Edit cost by round (each bar one request, from no edit to a full rewrite):\n  {bars}",
            f"Adapter version {self.adapter['version']}: {self.adapter['report'].get('sentence', 'failed')} "
            f"Requests while it was trained and swapped in: {self.requests_during_swap}, "
            f"failed: {self.failed_during_swap}.",
        ]

    def plot(self, path: Path) -> None:
        """Draw the cost of each round and of each stage."""
        with axes(path, 1, 2, figsize=(10, 3.5), width_ratios=(3, 2)) as (left, right):
            self._draw(left, right)

    def _draw(self, left: Any, right: Any) -> None:
        numbers = [r["round"] for r in self.rounds]
        for kind in dict.fromkeys(r["kind"] for r in self.rounds):
            own = [(r["round"], r["cost"]) for r in self.rounds if r["kind"] == kind]
            left.plot([n for n, _ in own], [c for _, c in own], "o", label=kind)
        costs = [r["cost"] for r in self.rounds]
        left.plot(numbers, [mean(costs[max(0, i - 3) : i + 1]) for i in range(len(costs))], color="0.6")
        left.set(xlabel="request", ylabel="edit cost", ylim=(-0.03, 1.03), title="Cost of the user's edit, by request")
        left.legend(fontsize=8)
        measured = [name for name in STAGES[::-1] if name in self.stages]
        right.barh(measured, [self.stages[name] for name in measured], color="tab:blue")
        right.set(xlabel="mean edit cost", title="Held-out requests")


def report_of(played: Mapping[int, Figures]) -> Report:
    """A row for each user, by seed, and how many of them reach what the demo shall show."""
    rows = []
    for seed, figures in played.items():
        costs = [f"{figures.stages[name]:.3f}" if name in figures.stages else "not measured" for name in STAGES]
        mode = figures.adapter["mode"] or figures.adapter["state"]
        rows.append((str(seed), *costs, f"{figures.of_none:.0%}", mode))
    users = list(played.values())
    return [
        Table(("seed", *STAGES, "of none", "adapter"), rows, TITLE),
        f"Of {len(users)} users: retrieval costs at most {ENOUGH:.0%} of none for "
        f"{sum(one.of_none <= ENOUGH for one in users)}, an adapter was admitted for "
        f"{sum(one.adapter['state'] == 'ready' for one in users)}, and it lowers the cost further for "
        f"{sum(one.lowered for one in users)}.",
    ]


def mean(values: Sequence[float]) -> float:
    """The mean, to four places; 0.0 of none."""
    return round(sum(values) / max(len(values), 1), 4)
