"""Versions that are pinned, tried on a share of requests, and known to have learned from an edit."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision: str | None = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    with op.batch_alter_table("users") as table:
        table.add_column(sa.Column("pinned", sa.Boolean(), nullable=False, server_default=sa.false()))
        table.add_column(sa.Column("canary_adapter", sa.Integer(), nullable=False, server_default="0"))
        table.add_column(sa.Column("canary_share", sa.Float(), nullable=False, server_default="0"))
    with op.batch_alter_table("adapters") as table:
        table.add_column(sa.Column("learned_from", sa.JSON()))
        table.add_column(sa.Column("activated_at", sa.Float()))
    made = sa.table("adapters", sa.column("state"), sa.column("activated_at"), sa.column("updated_at"))
    op.execute(made.update().where(made.c.state == "ready").values(activated_at=made.c.updated_at))


def downgrade() -> None:
    """Undo."""
    with op.batch_alter_table("adapters") as table:
        table.drop_column("activated_at")
        table.drop_column("learned_from")
    with op.batch_alter_table("users") as table:
        table.drop_column("canary_share")
        table.drop_column("canary_adapter")
        table.drop_column("pinned")
