"""The `attune` command: serve, worker, keys, settings, and what other packages add through `attune.commands`."""

import asyncio
import json
import signal
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points, version
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table
from typer.core import TyperGroup
from typer.main import get_command, get_group

from server.commands import client
from server.commands.keys import keys_app
from server.commands.models import app as models_app
from server.commands.running import AsJson, configure_log, or_stop, read_settings, stop, with_database
from server.commands.settings_list import settings_markdown, settings_table
from server.observability import logs
from server.settings import Work
from store.database import Database
from store.owner import Owner

T = TypeVar("T")


class _Commands(TyperGroup):
    """Our commands, then those of other packages, each imported when it is called or asked for its help."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [*super().list_commands(ctx), *(name for name in _plugins() if name not in self.commands)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name in self.commands or cmd_name not in _plugins():
            return super().get_command(ctx, cmd_name)
        try:
            command: Any = get_group(_plugins()[cmd_name].load())
        except Exception as error:  # another package's fault must not break the server's commands
            command = get_command(_stand_in(f"`attune {cmd_name}` cannot be loaded: {type(error).__name__}: {error}"))
        command.name = cmd_name
        return command


def _plugins() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group="attune.commands")}


def _stand_in(reason: str) -> typer.Typer:
    stand_in = typer.Typer(add_completion=False)

    @stand_in.command(help=escape(reason), context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
    def say() -> None:
        stop(reason)

    return stand_in


app = typer.Typer(cls=_Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_show_locals=False)


def _tell_version(asked: bool) -> None:
    if asked:
        typer.echo(f"attune {version('attune')}")
        raise typer.Exit


@app.callback()
def attune(
    asked: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Attune, a personalized assistant inference server. Settings are environment variables: `attune settings`."""


app.add_typer(keys_app, name="keys")
app.add_typer(models_app, name="models")
app.command("import")(client.import_file)
app.command("mcp")(client.mcp)


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on (ATTUNE_HOST).")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on (ATTUNE_PORT).")] = None,
    model: Annotated[str | None, typer.Option(help="Model folder, hub name or fetched model (ATTUNE_MODEL).")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder for everything stored (ATTUNE_DATA_DIR).")] = None,
) -> None:
    """Serve the API, with vLLM as a supervised child unless ATTUNE_ENGINE_URL names one."""
    from server import startup
    from server.app import serve as run
    from server.data.storage import private_directory
    from server.models.catalog import DEFAULT

    settings = read_settings(host=host, port=port, model=model, data_dir=data_dir)
    watched = startup.watched(settings)
    if watched:
        or_stop(lambda: private_directory(settings.data_dir))
        logs.configure_beside_terminal(settings.log_level, settings.data_dir / "logs" / "server.log")
    else:
        configure_log(settings)
    told = startup.startup(told=watched, total=DEFAULT.bytes_needed if DEFAULT else 0)
    reason = or_stop(lambda: run(settings, told=told))
    if reason:
        stop(reason)


@app.command()
def worker(
    only: Annotated[Work | None, typer.Option(help="Do this alone; by default both.")] = None,
    until_idle: Annotated[bool, typer.Option("--until-idle", help="End when nothing is due, as a job.")] = False,
) -> None:
    """Learn and train apart from the server: set ATTUNE_WORKER_IN_PROCESS=false there, and the same settings here."""
    from server.composition import build

    settings = read_settings()
    if settings.engine_url is None:
        stop("A worker of its own needs an engine of its own: set ATTUNE_ENGINE_URL, for the server too.")
    configure_log(settings)

    async def until_stopped() -> None:
        stop = asyncio.Event()
        for sign in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(sign, stop.set)
        async with build(settings, work=True, only=only, serve=False) as services:
            waiting: list[asyncio.Task[Any]] = [asyncio.create_task(stop.wait())]
            if until_idle:
                waiting.append(asyncio.create_task(services.until_idle()))
            ended, left = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in left:
                task.cancel()
            for task in ended:
                task.result()

    or_stop(lambda: asyncio.run(until_stopped()))


@app.command()
def settings(
    as_json: AsJson = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print docs/settings.md.")] = False,
) -> None:
    """List every setting: its environment variable, its default, what it does."""
    rows = settings_table()
    if markdown:
        typer.echo(settings_markdown(), nl=False)
        return
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    table = Table("variable", "default", "what it does", title="Settings")
    for row in rows:
        table.add_row(row["variable"], row["default"], row["description"])
    Console().print(table)


@app.command()
def doctor(
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the findings here too.")] = None,
) -> None:
    """Look at this deployment by its settings and say what is wrong and what to do. Exits with 1 on an error."""
    from server.commands.doctor.examine import examine
    from server.default_model import as_found

    with Console(stderr=True).status("looking"):
        found = asyncio.run(examine(as_found(read_settings())))
    table = Table("part", "", "how it is", "what to do")
    colours = {"ok": "green", "warning": "yellow", "error": "red"}
    for one in found:
        table.add_row(one.part, f"[{colours[one.state]}]{one.state}", escape(one.said), escape(one.advice))
    Console().print(table)
    if json_file is not None:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps([vars(one) for one in found], indent=2))
    if any(one.state == "error" for one in found):
        raise typer.Exit(1)


@app.command()
def export(
    tenant: Annotated[str, typer.Argument(help="The tenant; `local` where no API key exists.")],
    user: Annotated[str, typer.Argument(help="The user, as the app names them.")],
    folder: Annotated[Path, typer.Argument(help="Where to write; made if missing.")],
) -> None:
    """Write everything held about a user: all of it as JSON lines, training rows, adapters for peft."""
    from server.data.export import write
    from server.data.storage import open_directories

    settings = read_settings()

    def written(database: Database) -> list[Path]:
        return write(settings, database, open_directories(settings), Owner(tenant, user), folder)

    for path in with_database(written):
        typer.echo(str(path))


@app.command()
def migrate() -> None:
    """Bring the database up to date, also while servers of the version before run, and end: for a job before a roll."""
    with_database(lambda database: None, migrate=True)
    typer.echo("The database is up to date.")


@app.command()
def backup(
    folder: Annotated[Path, typer.Argument(help="Where to write; made if missing, else empty.")],
    as_json: AsJson = False,
) -> None:
    """Copy database, adapters (of the store, if there is one) and secret, while servers run."""
    from server.commands.backup import backup as write

    with Progress(console=Console(stderr=True)) as bars:
        done = _bar(bars, "adapters")
        made = or_stop(lambda: write(read_settings(), folder, done))
    _tell_of_backup(vars(made), f"{folder} holds the database and {made.adapters} adapters.", as_json)


@app.command()
def restore(
    folder: Annotated[Path, typer.Argument(help="What `attune backup` wrote.")], as_json: AsJson = False
) -> None:
    """Bring a backup back into an empty database and data folder, and adapters into the store. No server may run."""
    from server.commands.backup import restore as bring_back

    with Progress(console=Console(stderr=True)) as bars:
        done = _bar(bars, "adapters")
        made = or_stop(lambda: bring_back(read_settings(), folder, done))
    _tell_of_backup(vars(made), f"The database and {made.adapters} adapters are back.", as_json)


@app.command()
def scrub() -> None:
    """Rewrite the database's files without what was deleted: nobody can use it meanwhile. Erasures do what they can."""
    if not with_database(lambda database: database.scrub_now(full=True)):
        stop("The database is in use: try again when its servers are stopped.")


@app.command()
def reembed() -> None:
    """After a change of ATTUNE_EMBEDDER: embed anew what another one has embedded. Run it while no server runs."""
    from preference.recall import embedding
    from preference.recall.embedder import SentenceEmbedder
    from preference.recall.kind import KindEmbedder
    from server.data.reembedding import steps

    def brought_over(database: Database) -> int:
        embedder = KindEmbedder(SentenceEmbedder(read_settings().embedder))
        total = database.read_now(embedding.count, embedder)
        with Progress(console=Console(stderr=True)) as bars:
            bar = bars.add_task("contexts", total=total)
            for count in steps(database, embedder):
                bars.advance(bar, count)
        return total

    typer.echo(f"{with_database(brought_over)} contexts were embedded anew.")


def main() -> None:
    """The console command."""
    app()


def _bar(bars: Progress, what: str) -> Callable[[int, int], None]:
    bar = bars.add_task(what, total=None)
    return lambda done, total: bars.update(bar, completed=done, total=total)


def _tell_of_backup(made: dict[str, Any], sentence: str, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(made, indent=2))
        return
    typer.echo(sentence)
    if made["missing"]:
        typer.echo(f"Without files, and so not in it: {', '.join(made['missing'])}.")
