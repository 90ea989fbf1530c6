"""What a run of the recipes' benchmark says: the JSON, the table, the plot, and their place in `docs/adapters.md`."""

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.servers import ROOT
from lab.report import put

DOCS = ROOT / "docs" / "adapters.md"
PLOT = ROOT / "docs" / "adapters" / "recipes.png"
MARK = "bench-recipes"
BASE = "base"


def result(outcomes: Sequence[Mapping[str, Any]], about: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON of a run: means over users for each recipe and number of edits, then all outcomes."""
    by: dict[str, dict[int, list[Mapping[str, Any]]]] = {}
    for outcome in outcomes:
        trial = outcome["trial"]
        by.setdefault(_name(trial), {}).setdefault(trial["edits"], []).append(outcome)
    names = ("cost", "zero_edit", "told_cost", "told_zero_edit", "seconds", "steps")
    recipes = {
        recipe: {
            str(edits): {name: round(fmean(one[name] for one in found), 3) for name in names} | {"users": len(found)}
            for edits, found in by_edits.items()
        }
        for recipe, by_edits in by.items()
    }
    return {"recipes": recipes, "outcomes": list(outcomes), **about}


def show(result: Mapping[str, Any], console: Console) -> None:
    """Print the figures as a table."""
    head, rows = _table(result)
    table = Table(*head, caption=_commits(result))
    for row in rows:
        table.add_row(*row)
    console.print(table)


def write_docs(result: Mapping[str, Any]) -> None:
    """Put table and plot between the marks in ``docs/adapters.md``."""
    PLOT.parent.mkdir(exist_ok=True)
    _plot(result)
    put(DOCS, MARK, markdown(result), {PLOT: "Words of edits a request"})


def markdown(result: Mapping[str, Any]) -> str:
    """The table, and what it was measured on."""
    machine = result["machine"]
    head, rows = _table(result)
    return "\n".join(
        [
            f"{result['date']}, {_commits(result)}, {machine['cores']} cores of {machine['processor']}:",
            "",
            *(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)),
        ]
    )


def _commits(result: Mapping[str, Any]) -> str:
    """The commit that the outcomes were measured at, or each of several with its number of them."""
    counted = Counter(outcome.get("commit") or "unknown" for outcome in result["outcomes"])
    if len(counted) == 1:
        return f"commit {next(iter(counted))}"
    return "commits " + ", ".join(f"{name} ({n} of {counted.total()} trials)" for name, n in sorted(counted.items()))


def _name(trial: Mapping[str, Any]) -> str:
    """The recipe, and what is unusual about the trial."""
    rate = f", rate {trial['rate']:g}" if trial.get("rate") else ""
    return f"{trial['recipe']}{rate}{', signing' if trial.get('signing') else ''}"


def _is_base(name: str) -> bool:
    return name.partition(",")[0] == BASE


def _sizes(result: Mapping[str, Any]) -> list[str]:
    """Numbers of edits, fewest first."""
    found = {size for name, sizes in result["recipes"].items() if not _is_base(name) for size in sizes}
    return sorted(found, key=int)


def _table(result: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    sizes = _sizes(result)
    head = ["recipe", *(f"{size} edits" for size in sizes), "with what the user wants", "processor seconds"]
    rows = []
    for name, found in result["recipes"].items():
        if _is_base(name):
            (base,) = found.values()
            rows.append([name, *([_cost(base)] * len(sizes)), f"{base['told_cost']:.1f}", ""])
            continue
        held = [found[size] for size in sizes if size in found]
        rows.append(
            [
                name,
                *(_cost(found[size]) if size in found else "-" for size in sizes),
                " / ".join(f"{one['told_cost']:.1f}" for one in held),
                " / ".join(f"{one['seconds']:.0f}" for one in held),
            ]
        )
    return head, rows


def _cost(found: Mapping[str, Any]) -> str:
    return f"{found['cost']:.1f} ({found['zero_edit']:.0%} unedited)"


def _plot(result: Mapping[str, Any]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4))
    sizes = _sizes(result)
    for name, found in result["recipes"].items():
        if _is_base(name):
            (base,) = found.values()
            axes.axhline(base["cost"], color="grey", linestyle="--", label=name)
        else:
            held = [size for size in sizes if size in found]
            axes.plot([int(size) for size in held], [found[size]["cost"] for size in held], marker="o", label=name)
    axes.set(xlabel="edits", ylabel="words edited a request", xscale="log", ylim=(0, None))
    axes.set_xticks([int(size) for size in sizes], labels=sizes)
    axes.minorticks_off()
    axes.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(PLOT, dpi=120)
    pyplot.close(figure)
