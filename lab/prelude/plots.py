"""The plots of docs/benchmark/: few colours, each line named where it ends."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lab.prelude import figures
from lab.prelude.figures import Played
from lab.prelude.log import Line
from lab.prelude.report import in_order

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {"attune+adapter": "tab:purple", "attune": "tab:blue", "cipher-5": "tab:orange", "oracle": "black"}
"""Arms that the goals are about; the others are grey."""
AROUND = 10
"""Rounds of the changed kind that are shown before its change."""

Arms = Mapping[str, Sequence[Played]]


def write(lines: Sequence[Line], folder: Path, prefix: str = "") -> list[Path]:
    """Write ``cumulative.png``, ``zero-edit.png`` and, with rounds of that variant, ``drift.png``; what was written.

    Names begin with ``prefix``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    plain, drift = _by_environment(lines, "plain"), _by_environment(lines, "drift")
    written = []
    if plain:
        best = {name: {arm: arms[arm] for arm in COLOURS if arm in arms} or arms for name, arms in plain.items()}
        written += [_panels((plain, best), _cumulative, folder / f"{prefix}cumulative.png")]
        written += [_panels((plain,), _zero_edit, folder / f"{prefix}zero-edit.png")]
    if changed := {name: arms for name, arms in drift.items() if any(map(_changes, arms.values()))}:
        written += [_panels((changed,), _drift, folder / f"{prefix}drift.png")]
    return written


def _cumulative(axes: "Axes", arms: Arms) -> None:
    """Cumulative cost by round: mean over seeds, and one standard deviation to each side."""
    ends = {}
    for arm in reversed(in_order(arms)):
        shortest = min(map(len, arms[arm]))
        totals = np.cumsum([[r.cost for r in chain[:shortest]] for chain in arms[arm]], axis=1)
        mean, deviation, rounds = totals.mean(axis=0), totals.std(axis=0, ddof=len(totals) > 1), np.arange(shortest) + 1
        _line(axes, arm, rounds, mean)
        axes.fill_between(rounds, mean - deviation, mean + deviation, color=_colour(arm), alpha=0.15, linewidth=0)
        ends[arm] = (float(shortest), float(mean[-1]))
    axes.set(xlabel="round", ylabel="cumulative edit cost (words)")
    axes.set(xlim=(0, None), ylim=(0, None))
    _name_ends(axes, ends)


def _zero_edit(axes: "Axes", arms: Arms) -> None:
    """Share of drafts that need no edit, by bins of rounds."""
    ends = {}
    for arm in reversed(in_order(arms)):
        points = figures.curve(arms[arm])
        rounds = np.array([sum(p["rounds"]) / 2 for p in points])
        share = np.array([100 * p["zero_edit"] for p in points])
        _line(axes, arm, rounds, share)
        ends[arm] = (float(rounds[-1]), float(share[-1]))
    axes.set(xlabel=f"round (bins of {figures.BIN})", ylabel="drafts left as they are (%)", ylim=(-3, 103))
    _name_ends(axes, ends)


def _drift(axes: "Axes", arms: Arms) -> None:
    """Mean cost of the changed kind's rounds, counted from its change."""
    ends = {}
    for arm in reversed(in_order(arm for arm in arms if _changes(arms[arm]))):
        at: dict[int, list[int]] = {}
        for before, after in _changes(arms[arm]):
            for place, line in enumerate((*before[-AROUND:], *after), -min(AROUND, len(before))):
                at.setdefault(place, []).append(line.cost)
        places = sorted(at)
        means = np.array([np.mean(at[place]) for place in places])
        _line(axes, arm, np.array(places), means)
        ends[arm] = (float(places[-1]), float(means[-1]))
    axes.axvline(-0.5, color="0.5", linestyle=":", linewidth=1)
    axes.set(xlabel="rounds of the changed kind since its change", ylabel="edit cost (words)")
    axes.set_ylim(bottom=0)
    _name_ends(axes, ends)


def _panels(rows: Sequence[Mapping[str, Arms]], draw: Callable[["Axes", Arms], None], path: Path) -> Path:
    """A panel for each environment in each row."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.2 * len(rows[0]), 4.4 * len(rows)), layout="tight")
    panels = figure.subplots(len(rows), len(rows[0]), squeeze=False)
    for environments, row in zip(rows, panels, strict=True):
        for (name, arms), axes in zip(sorted(environments.items()), row, strict=True):
            draw(axes, arms)
            axes.set_title(name)
            axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)
    return path


def _line(axes: "Axes", arm: str, x: NDArray[Any], y: NDArray[Any]) -> None:
    axes.plot(x, y, color=_colour(arm), linewidth=2 if arm in COLOURS else 1, label=arm)


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


def _by_environment(lines: Sequence[Line], variant: str) -> dict[str, dict[str, list[Played]]]:
    found: dict[str, dict[str, list[Played]]] = {}
    for (of, environment, arm), played in figures.chains(lines).items():
        if of == variant:
            found.setdefault(environment, {})[arm] = played
    return found


def _changes(played: Sequence[Played]) -> list[tuple[Played, Played]]:
    return [change for chain in played if (change := figures.changed_kind(chain))]
