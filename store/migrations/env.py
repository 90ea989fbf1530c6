"""Alembic's entry point. The connection and its transaction come from ``Database.migrate``."""

from alembic import context

from store.tables import metadata

connection = context.config.attributes.get("connection")
if connection is None:
    raise RuntimeError("migrations run through Database.migrate(), not through the alembic command")
# SQLite alters a table by rebuilding it, which Alembic calls batch mode.
context.configure(connection=connection, target_metadata=metadata, render_as_batch=connection.dialect.name == "sqlite")
with context.begin_transaction():
    context.run_migrations()
