"""What commands share: settings of the environment, the database, and an end in one sentence."""

import os
from collections.abc import Callable
from contextlib import closing
from typing import Annotated, Any, NoReturn, TypeVar

import typer
from pydantic import ValidationError
from pydantic_settings import SettingsError

from server.errors import StartRefused
from server.observability import logs
from server.settings import Settings
from store.database import Database
from store.errors import AttuneError

T = TypeVar("T")


AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def with_database(use: Callable[[Database], T], **given: Any) -> T:
    """What ``use`` gives of the database of these settings; ends the command on an error."""
    from server.data.storage import open_database, private_directory

    settings = read_settings(**given)

    def run() -> T:
        private_directory(settings.data_dir)
        with closing(open_database(settings)) as database:
            return use(database)

    return or_stop(run)


def read_settings(**given: Any) -> Settings:
    """The settings in force, with those ``given`` on the command line; ends the command on a wrong one."""
    for name, value in given.items():
        if value is not None:  # the trainer, the engine and any child read the same environment
            os.environ[f"ATTUNE_{name.upper()}"] = str(value)
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        stop(f"ATTUNE_{str(first['loc'][0]).upper()} is wrong: {first['msg']}. See `attune settings`.")
    except SettingsError as error:  # it names the field in double quotes
        stop(f"ATTUNE_{str(error).split(chr(34))[1].upper()} is wrong: it must be JSON. See `attune settings`.")


def or_stop(run: Callable[[], T]) -> T:
    """What ``run`` gives; ends the command with the error's sentence."""
    try:
        return run()
    except (AttuneError, StartRefused) as error:
        stop(str(error))


def stop(message: str) -> NoReturn:
    """End the command with a message and status 1."""
    typer.secho(message, fg=typer.colors.RED, err=True)
    raise typer.Exit(1)


def configure_log(settings: Settings) -> None:
    """Log as the settings say."""
    logs.configure(settings.log_level, settings.log_format)
