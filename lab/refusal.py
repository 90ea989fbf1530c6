"""How a command of the lab ends that cannot do what was asked."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer


class Refused(Exception):
    """What was asked for cannot be done; the message says why, in a sentence."""


def refuse(message: str) -> NoReturn:
    """Say why on the standard error, and exit with 1."""
    typer.secho(message, fg=typer.colors.RED, err=True)
    raise typer.Exit(1)


@contextmanager
def refusing(again: str) -> Iterator[None]:
    """Say why a run cannot go on, or was stopped; ``again`` is how it goes on."""
    from openai import APIError

    from store.errors import AttuneError

    try:
        yield
    except (Refused, AttuneError, APIError) as error:
        refuse(str(error))
    except TimeoutError:
        refuse(f"Learning took too long; {again}.")
    except KeyboardInterrupt:
        refuse(f"Stopped; {again}.")
