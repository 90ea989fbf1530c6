"""What each context says for or against a preference, the candidates of each edit, and which drafts were cut."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision: str | None = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply. Contexts of before spoke for what held in them."""
    with op.batch_alter_table("contexts") as table:
        table.add_column(sa.Column("weight", sa.Float(), nullable=False, server_default="1"))
    with op.batch_alter_table("turns") as table:
        table.add_column(sa.Column("cut", sa.Boolean(), nullable=False, server_default=sa.false()))
    with op.batch_alter_table("feedback") as table:
        table.add_column(sa.Column("candidates", sa.JSON()))
    if op.get_context().dialect.name == "postgresql":  # no samples of what users wrote in the planner's statistics
        op.execute("ALTER TABLE feedback ALTER COLUMN candidates SET STATISTICS 0")


def downgrade() -> None:
    """Undo: what speaks against a preference has no place there."""
    op.execute("DELETE FROM contexts WHERE weight <= 0")
    with op.batch_alter_table("feedback") as table:
        table.drop_column("candidates")
    with op.batch_alter_table("turns") as table:
        table.drop_column("cut")
    with op.batch_alter_table("contexts") as table:
        table.drop_column("weight")
