"""`attune keys`: made, listed, revoked."""

import json
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from server.commands.running import AsJson, with_database
from store import keys

keys_app = typer.Typer(
    help="API keys: each belongs to one tenant. A key is shown once and stored as a hash.", no_args_is_help=True
)


@keys_app.command("create")
def create_key(
    tenant: Annotated[str, typer.Argument(help="The tenant that the key belongs to; made with its first key.")],
    name: Annotated[str, typer.Option(help="What the key is for.")] = "default",
    requests_per_minute: Annotated[
        int | None, typer.Option(help="Its own limit, 0 for none, instead of ATTUNE_REQUESTS_PER_MINUTE.")
    ] = None,
    in_flight: Annotated[int | None, typer.Option(help="Its own limit, instead of ATTUNE_IN_FLIGHT_PER_KEY.")] = None,
    tokens_per_minute: Annotated[
        int | None, typer.Option(help="Its own limit, 0 for none, instead of ATTUNE_TOKENS_PER_MINUTE.")
    ] = None,
    tokens_per_day: Annotated[
        int | None, typer.Option(help="Its own budget, 0 for none, instead of ATTUNE_TOKENS_PER_DAY.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and print it, once."""
    limits = {
        "requests_per_minute": requests_per_minute,
        "in_flight": in_flight,
        "tokens_per_minute": tokens_per_minute,
        "tokens_per_day": tokens_per_day,
    }
    key_id, plain = with_database(lambda database: database.write_now(keys.create, tenant, name, **limits))
    if as_json:
        typer.echo(json.dumps({"id": key_id, "tenant": tenant, "name": name, "key": plain, **limits}))
        return
    typer.echo(f"{plain}\n\nThis is key {key_id} of tenant {tenant!r}. It is not stored and will not be shown again.")


@keys_app.command("list")
def list_keys(as_json: AsJson = False) -> None:
    """List all keys, revoked ones too."""
    held = with_database(lambda database: database.read_now(keys.list_all))
    if as_json:
        typer.echo(json.dumps([vars(key) for key in held], indent=2))
        return
    table = Table("id", "tenant", "name", "created", "revoked", "limits")
    for key in held:
        told = {
            "requests a minute": key.requests_per_minute,
            "at a time": key.in_flight,
            "tokens a minute": key.tokens_per_minute,
            "tokens a day": key.tokens_per_day,
        }
        own = ", ".join(f"{limit or 'any'} {what}" for what, limit in told.items() if limit is not None)
        table.add_row(key.id, key.tenant, key.name, _when(key.created_at), _when(key.revoked_at), own or "default")
    Console().print(table)


@keys_app.command("revoke")
def revoke_key(key_id: Annotated[str, typer.Argument(help="The id that `attune keys list` shows.")]) -> None:
    """Revoke a key; servers notice within seconds."""
    with_database(lambda database: database.write_now(keys.revoke, key_id))
    typer.echo(f"Key {key_id} is revoked.")


def _when(seconds: float | None) -> str:
    return "" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
