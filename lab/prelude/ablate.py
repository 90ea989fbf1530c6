"""`attune lab ablate`: what each part of the learner pays, by runs of the benchmark without it."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from lab.prelude.ablation import PARTS
from lab.refusal import Refused
from lab.report import DOCS, Table, about_line, conclude

ARM = "attune"
_HEAD = (
    "without",
    "instead",
    "cost",
    "after first encounters",
    "beside all parts",
    "zero-edit, last ¼",
    "learner tokens",
)


def ablate(
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of a chain.")] = 100,
    seeds: Annotated[int, typer.Option(min=1, help="Users of each environment.")] = 3,
    variant: Annotated[str, typer.Option(help="plain, drift, noise or habit.")] = "plain",
    part: Annotated[
        list[str] | None, typer.Option(help="A part to leave out; may come again. By default each of them.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the runs; called again, they go on there.")] = Path("out/ablate"),
    report: Annotated[Path | None, typer.Option("--json", help="Write the figures here too.")] = None,
    write_docs: Annotated[bool, typer.Option("--write-docs", help="Put the table into docs/benchmark.md.")] = False,
) -> None:
    """Play the benchmark with the whole learner, then without each of its parts."""
    from lab.prelude.bench import Options, bench
    from lab.prelude.report import summarise
    from lab.provenance import about
    from preference.recall.embedder import SentenceEmbedder

    unknown = [name for name in part or () if name not in PARTS]
    if unknown:
        raise typer.BadParameter(f"there is no part {unknown[0]!r}: {', '.join(PARTS)}")
    if part and write_docs:
        raise typer.BadParameter("--write-docs needs every part, without --part")
    progress = Console(stderr=True)
    embedder = SentenceEmbedder()
    options = Options(["email", "summary"], [variant], [ARM], rounds, seeds, out)
    found: dict[str, Any] = {}
    for without in (None, *(part or PARTS)):
        name = without or "nothing"
        progress.rule(f"without {name}")
        try:
            outcome = asyncio.run(bench(replace(options, out=out / name, without=without), progress, embedder))
        except Refused as error:
            raise typer.BadParameter(str(error)) from error
        if outcome.failures or outcome.stopped:
            raise typer.BadParameter("A run did not end; the same command goes on.")
        found[name] = _figures(summarise(outcome.lines), variant)
    figures = {"parts": found, "variant": variant, **about(outcome.model)}
    document = DOCS / "benchmark.md" if write_docs else None
    files = [out / "figures.json", report]
    conclude(figures, [about_line(figures), table(found)], files, document, "bench-ablation")


def _figures(summary: Mapping[str, Any], variant: str) -> dict[str, dict[str, Any]]:
    part = summary["environments"] if variant == "plain" else summary[variant]
    return {environment: held["arms"][ARM] for environment, held in part.items()}


def table(found: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Table:
    """A row for each run, from its figures by environment; the whole learner's is called ``nothing``."""
    return Table(_HEAD, [_row(name, found) for name in found], texts=2)


def _row(name: str, found: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> tuple[str, ...]:
    each, whole = found[name], found["nothing"]

    def later(of: Mapping[str, Mapping[str, Any]], environment: str) -> float:
        figures = of[environment]
        return float(figures["cumulative_cost_mean"] - (figures["first_encounters"] or 0))

    return (
        name,
        PARTS.get(name, ""),
        " / ".join(f"{f['cumulative_cost_mean']:.0f} ± {f['cumulative_cost_sd']:.0f}" for f in each.values()),
        " / ".join(f"{later(each, e):.0f}" for e in each),
        " / ".join(f"{later(each, e) - later(whole, e):+.0f}" for e in each),
        " / ".join(f"{f['zero_edit_last_quarter']:.0%}" for f in each.values()),
        " / ".join(f"{f['learner_tokens_in'] + f['learner_tokens_out']:,.0f}" for f in each.values()),
    )
