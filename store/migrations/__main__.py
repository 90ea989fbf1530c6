"""Draft a migration: ``python -m store.migrations "what changes"`` compares `tables.py` with the newest schema."""

import sys
import tempfile

from alembic import command
from sqlalchemy import Connection

from store.database import Database, migrations


def main() -> None:
    """Write the draft beside the other versions; read it before you commit it."""
    if len(sys.argv) != 2:
        sys.exit('usage: python -m store.migrations "what changes"')
    with tempfile.TemporaryDirectory() as folder:
        database = Database(f"sqlite:///{folder}/newest.db")
        database.migrate()
        config = migrations()

        def draft(connection: Connection) -> None:
            config.attributes["connection"] = connection
            command.revision(config, sys.argv[1], autogenerate=True)

        database.read_now(draft)
        database.close()


if __name__ == "__main__":
    main()
