"""Limits of an API key: requests a minute, and requests at a time."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision: str | None = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    with op.batch_alter_table("api_keys") as table:
        table.add_column(sa.Column("requests_per_minute", sa.Integer()))
        table.add_column(sa.Column("in_flight", sa.Integer()))


def downgrade() -> None:
    """Undo."""
    with op.batch_alter_table("api_keys") as table:
        table.drop_column("in_flight")
        table.drop_column("requests_per_minute")
