"""Commands that ask a running server: `attune import`, `attune mcp`."""

import asyncio
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import DownloadColumn, Progress

from preference.imports.items import FORMATS
from server.commands.running import stop
from store.errors import AttuneError

if TYPE_CHECKING:
    from server.commands.import_command import Total


def import_file(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="Lines or a document of JSON, or of text.")],
    user: Annotated[str | None, typer.Option(help="Whose it is; without it each row's user_id says so.")] = None,
    url: Annotated[str, typer.Option(help="The server's address.")] = "http://127.0.0.1:8000",
    key: Annotated[str | None, typer.Option(envvar="ATTUNE_KEY", help="An API key; none on this machine.")] = None,
    format: Annotated[str | None, typer.Option(help=f"One of {', '.join(FORMATS)}; else rows tell it.")] = None,
    of: Annotated[str | None, typer.Option(help="The user's name in the file: rows of others are skipped.")] = None,
    facts: Annotated[bool, typer.Option("--facts", help="Memories that do not say how to write, too.")] = False,
    after: Annotated[int, typer.Option(min=0, help="Go on behind this line.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of sentences.")] = False,
) -> None:
    """Import a user's past: drafts and what they made of them, own texts, preferences, memories, ratings."""
    from server.commands import import_command

    if format is not None and format not in FORMATS:
        stop(f"--format is one of {', '.join(FORMATS)}.")
    named: Any = format
    with Progress(*Progress.get_default_columns(), DownloadColumn(), console=Console(stderr=True)) as bars:
        bar = bars.add_task("Importing", total=file.stat().st_size)
        try:
            total = import_command.run(
                file, user=user, url=url, key=key, format=named, of=of, facts=facts, after=after,
                on_progress=lambda position: bars.update(bar, completed=position),
            )  # fmt: skip
        except import_command.Stopped as stopped:
            bars.stop()
            _tell(stopped.total, as_json)
            stop(f"{stopped.message} Rows up to {stopped.after} were taken: go on with --after {stopped.after}.")
        except AttuneError as error:
            bars.stop()
            stop(error.message)
    _tell(total, as_json)
    if total.refused:
        stop(f"{total.refused} refused.")


def _tell(total: "Total", as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(asdict(total)))
        return
    taken = ", ".join(f"{count} {kind}" for kind, count in total.taken.items() if count) or "nothing new"
    typer.echo(f"{total.rows} rows: {taken}; {total.repeated} known before, {total.skipped} skipped.")
    for line, why in total.skipped_told:
        typer.echo(f"line {line}, skipped: {why}", err=True)
    for line, why in total.refused_told:
        typer.echo(f"line {line}: {why}", err=True)


def mcp(
    url: Annotated[str, typer.Option(help="The server's address.")] = "http://127.0.0.1:8000",
    key: Annotated[
        str | None, typer.Option(envvar="ATTUNE_KEY", help="An API key, or a token of one user; none on this machine.")
    ] = None,
    user: Annotated[str | None, typer.Option(help="Whose preferences; a token knows it.")] = None,
) -> None:
    """The tools of a running server over standard input and output, for assistants that speak MCP."""
    from httpx2 import HTTPError
    from mcp.shared.exceptions import MCPError

    from server.mcp.bridge import serve as pass_on

    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    named = {} if user is None else {"X-User-Id": user}
    try:
        asyncio.run(pass_on(url, headers | named))
    except* (OSError, MCPError, HTTPError) as errors:
        first: BaseException = errors
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        stop(f"There is no server of tools at {url}/mcp, or it lets nobody in: {first}")
