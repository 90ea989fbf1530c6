"""What a run of the recipes' benchmark says: the JSON, the table and the plot of `docs/adapters.md`."""

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from lab import report
from lab.report import Report, Table

DOCS = report.DOCS / "adapters.md"
PLOT = report.DOCS / "adapters" / "recipes.png"
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


def parts(result: Mapping[str, Any]) -> Report:
    """The report of a run, with its picture."""
    machine = result["machine"]
    return [
        f"{result['date']}, {_commits(result)}, {machine['cores']} cores of {machine['processor']}:",
        _table(result),
        report.picture("Words of edits a request", PLOT),
    ]


def _commits(result: Mapping[str, Any]) -> str:
    """The commit that the outcomes were measured at, or each of several with its number of them."""
    counted = Counter(outcome["commit"] or "unknown" for outcome in result["outcomes"])
    if len(counted) == 1:
        return f"commit {next(iter(counted))}"
    return "commits " + ", ".join(f"{name} ({n} of {counted.total()} trials)" for name, n in sorted(counted.items()))


def _name(trial: Mapping[str, Any]) -> str:
    """The recipe, and what is unusual about the trial."""
    rate = f", rate {trial['rate']:g}" if trial["rate"] else ""
    return f"{trial['recipe']}{rate}"


def _is_base(name: str) -> bool:
    return name.partition(",")[0] == BASE


def _sizes(result: Mapping[str, Any]) -> list[str]:
    """Numbers of edits, fewest first."""
    found = {size for name, sizes in result["recipes"].items() if not _is_base(name) for size in sizes}
    return sorted(found, key=int)


def _table(result: Mapping[str, Any]) -> Table:
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
    return Table(head, rows)


def _cost(found: Mapping[str, Any]) -> str:
    return f"{found['cost']:.1f} ({found['zero_edit']:.0%} unedited)"


def plot(result: Mapping[str, Any]) -> None:
    """Words edited a request by the number of edits, a line for each recipe; into ``PLOT``."""
    sizes = _sizes(result)
    with report.axes(PLOT, figsize=(7, 4)) as axes:
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
