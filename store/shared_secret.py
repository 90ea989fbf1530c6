"""The row of ``shared_secrets``: what the servers of one database make salts with, whatever each has on its disk."""

from sqlalchemy import Connection, select

from store.rows import insert_into
from store.tables import shared_secrets

_NAME = "salts"


def agree(c: Connection, offered: bytes) -> bytes:
    """The secret of all: ``offered`` where there was none yet."""
    c.execute(insert_into(c, shared_secrets).values(name=_NAME, value=offered).on_conflict_do_nothing())
    return held(c) or offered


def held(c: Connection) -> bytes | None:
    """The secret of all, or None."""
    return c.execute(select(shared_secrets.c.value).where(shared_secrets.c.name == _NAME)).scalar()
