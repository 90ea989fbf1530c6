"""`attune lab bench`: the command, and where its figures go."""

import asyncio
import os
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from lab.refusal import Refused, refuse

QUICK_ROUNDS, ROUNDS, QUICK_SEEDS, SEEDS = 40, 200, 1, 3
EVERYDAY_ROUNDS, EVERYDAY_AT_ONCE = 40, 12


World = Literal["synthetic", "everyday"]
"""Whose requests are played."""


def bench(
    quick: Annotated[
        bool, typer.Option("--quick", help="A look of a few minutes: 40 rounds, one seed, no variants, no adapters.")
    ] = False,
    world: Annotated[
        World, typer.Option(help="synthetic, for the bundled model, or everyday: real English, for real models.")
    ] = "synthetic",
    rounds: Annotated[
        int | None, typer.Option(min=1, help="Rounds of a chain; 200 by default, 40 in the everyday world.")
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Users of each environment; 3 by default.")] = None,
    environment: Annotated[
        list[str] | None, typer.Option(help="email, summary or documents; may come again. By default the first two.")
    ] = None,
    variant: Annotated[
        list[str] | None, typer.Option(help="plain, drift, noise or habit; may come again. By default all.")
    ] = None,
    arms: Annotated[
        list[str] | None,
        typer.Option(
            "--arm", "--arms", help="One, or several with commas; by default all, and few in the harder variants."
        ),
    ] = None,
    feedback: Annotated[
        list[str] | None,
        typer.Option(
            help="Play users who give this kind alone, beside edits and none: demonstration, comment, history, import; "
            "or who edit and are misled: wrong-comments, copied-signals, hostile-follow-ups. May come again."
        ),
    ] = None,
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="Chains played at a time; 24 by default, 12 in the everyday world.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="A model's folder or hub name instead of the bundled one.")] = None,
    documents: Annotated[
        Path | None, typer.Option(help="Your own documents, a subfolder for each kind; with --user-url.")
    ] = None,
    user_url: Annotated[str | None, typer.Option(help="OpenAI-compatible URL of a model that plays the user.")] = None,
    user_model: Annotated[str | None, typer.Option(help="That model's name.")] = None,
    user_key_env: Annotated[str | None, typer.Option(help="The environment variable with its API key.")] = None,
    url: Annotated[str | None, typer.Option(help="A running server to use instead of starting one.")] = None,
    api_key_env: Annotated[str | None, typer.Option(help="The environment variable with its API key.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The run's folder; called again, it goes on there. By default out/prelude or out/everyday."),
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget what was played in that folder.")] = False,
    report: Annotated[Path | None, typer.Option("--json", help="Write the figures here too.")] = None,
    write_docs: Annotated[bool, typer.Option("--write-docs", help="Put tables and plots into docs/.")] = False,
) -> None:
    """Play PRELUDE's protocol on a real server: what each way to learn from edits costs its user."""
    from openai import APIError

    from lab.everyday import report as everyday_report
    from lab.prelude import bench, plots
    from lab.prelude import report as synthetic_report
    from lab.prelude.catalog import SLOW_ARM, chosen
    from lab.provenance import about
    from lab.report import DOCS, about_line, conclude, picture
    from preference.recall.embedder import SentenceEmbedder

    progress = Console(stderr=True)
    everyday = world == "everyday"
    if everyday and (environment or variant or documents or feedback is not None):
        refuse("The everyday world has no environments, variants, documents or feedback to choose from.")
    reports, prefix = (everyday_report, "everyday-") if everyday else (synthetic_report, "")
    out = out or Path("out/everyday" if everyday else "out/prelude")
    usual = EVERYDAY_ROUNDS if everyday else ROUNDS
    named = [name for given in arms or () for name in given.split(",")]
    kinds = None if feedback is None else [name for given in feedback for name in given.split(",")]
    if quick and not named and kinds is None:
        progress.print(f"A quick look leaves out {SLOW_ARM}, whose training takes minutes.")
    worlds = [bench.EVERYDAY] if everyday else [bench.DOCUMENTS] if documents else ["email", "summary"]
    plain = everyday or quick or documents or feedback is not None
    options = bench.Options(
        environments=environment or worlds,
        variants=variant or (["plain"] if plain else ["plain", "drift", "noise", "habit"]),
        arms=chosen(named, kinds, everyday=everyday, quick=quick),
        rounds=rounds or (min(QUICK_ROUNDS, usual) if quick else usual),
        seeds=seeds or (QUICK_SEEDS if quick else SEEDS),
        out=out,
        concurrency=concurrency or (EVERYDAY_AT_ONCE if everyday else 24),
        fresh=fresh,
        model=model,
        documents=documents,
        user_url=user_url,
        user_model=user_model,
        user_key=_secret(user_key_env),
        url=url.rstrip("/") if url else None,
        key=_secret(api_key_env),
    )
    try:
        options.check()
        embedder = SentenceEmbedder()
        outcome = asyncio.run(bench.bench(options, progress, embedder))
    except (Refused, ValueError, APIError) as error:
        refuse(str(error))
    summary = reports.summarise(outcome.lines, embedder, about(outcome.model))
    plot = (DOCS / "benchmark" if write_docs else out) / f"{prefix}cumulative.png"
    drawn = plots.write(outcome.lines, plot)
    told = [about_line(summary), *reports.report(summary)]
    if write_docs and drawn:
        told.append(picture(reports.CAPTION, plot))
    document = DOCS / "benchmark.md" if write_docs else None
    conclude(summary, told, [out / "figures.json", report], document, reports.MARK)
    if outcome.failures:
        failed = "\n".join(f"{chain}: {reason}" for chain, reason in outcome.failures.items())
        refuse(
            f"{len(outcome.failures)} of {len(outcome.chains)} chains failed; the same command tries again.\n{failed}"
        )
    if outcome.stopped:
        refuse("Stopped before the end; the same command goes on.")


def _secret(variable: str | None) -> str:
    if variable is None:
        return "none"
    if not os.environ.get(variable):
        refuse(f"The environment variable {variable} is empty.")
    return os.environ[variable]
