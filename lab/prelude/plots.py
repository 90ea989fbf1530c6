"""The plot of a run: few colours, each line named where it ends."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lab.prelude import figures
from lab.prelude.figures import Played
from lab.prelude.log import Line
from lab.prelude.report import in_order
from lab.report import axes as plot

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {"attune+adapter": "tab:purple", "attune": "tab:blue", "cipher-5": "tab:orange", "oracle": "black"}
"""Arms that the goals are about; the others are grey."""
Arms = Mapping[str, Sequence[Played]]


def write(lines: Sequence[Line], path: Path) -> bool:
    """Draw the cumulative costs of the plain variant, if that was played; whether it was."""
    plain: dict[str, dict[str, Sequence[Played]]] = {}
    for (variant, environment, arm), played in figures.chains(lines).items():
        if variant == "plain":
            plain.setdefault(environment, {})[arm] = played
    if not plain:
        return False
    best = {name: {arm: arms[arm] for arm in COLOURS if arm in arms} or arms for name, arms in plain.items()}
    with plot(path, 2, len(plain), squeeze=False, figsize=(6.2 * len(plain), 4.4 * 2)) as places:
        for environments, row in zip((plain, best), places, strict=True):
            for (name, arms), axes in zip(sorted(environments.items()), row, strict=True):
                _cumulative(axes, arms)
                axes.set_title(name)
                axes.spines[["top", "right"]].set_visible(False)
    return True


def _cumulative(axes: "Axes", arms: Arms) -> None:
    """Cumulative cost by round: mean over seeds, and one standard deviation to each side."""
    ends = {}
    for arm in reversed(in_order(arms)):
        shortest = min(map(len, arms[arm]))
        totals = np.cumsum([[r.cost for r in chain[:shortest]] for chain in arms[arm]], axis=1)
        mean, deviation, rounds = totals.mean(axis=0), totals.std(axis=0, ddof=len(totals) > 1), np.arange(shortest) + 1
        axes.plot(rounds, mean, color=_colour(arm), linewidth=2 if arm in COLOURS else 1, label=arm)
        axes.fill_between(rounds, mean - deviation, mean + deviation, color=_colour(arm), alpha=0.15, linewidth=0)
        ends[arm] = (float(shortest), float(mean[-1]))
    axes.set(xlabel="round", ylabel="cumulative edit cost (words)")
    axes.set(xlim=(0, None), ylim=(0, None))
    _name_ends(axes, ends)


def _name_ends(axes: "Axes", ends: Mapping[str, tuple[float, float]]) -> None:
    """Write each arm's name right of the plot, near its line's end and apart from the other names."""
    bottom, top = axes.get_ylim()
    apart = (top - bottom) / 22
    names = sorted(ends, key=lambda arm: ends[arm][1])
    heights: list[float] = []
    for arm in names:
        heights.append(max(ends[arm][1], heights[-1] + apart if heights else bottom))
    limit = top
    for i in reversed(range(len(names))):
        heights[i] = min(heights[i], limit)
        limit = heights[i] - apart
    axes.set_xlim(right=max(x for x, _ in ends.values()))
    for arm, height in zip(names, heights, strict=True):
        axes.annotate(
            arm, ends[arm], (1.03, height), textcoords=axes.get_yaxis_transform(), color=_colour(arm), va="center",
            fontsize=8, annotation_clip=False, arrowprops={"arrowstyle": "-", "color": "0.8", "linewidth": 0.5},
        )  # fmt: skip


def _colour(arm: str) -> str:
    return COLOURS.get(arm, "0.6")
