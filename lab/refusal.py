"""How a command of the lab ends that cannot do what was asked."""

from typing import NoReturn

import typer


def refuse(message: str) -> NoReturn:
    """Say why on the standard error, and exit with 1."""
    typer.secho(message, fg=typer.colors.RED, err=True)
    raise typer.Exit(1)
