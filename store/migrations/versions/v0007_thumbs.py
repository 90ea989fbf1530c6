"""Thumbs beside edits: feedback without a text."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision: str | None = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    with op.batch_alter_table("feedback") as table:
        table.add_column(sa.Column("thumb", sa.String(8)))
        table.alter_column("edited_text", existing_type=sa.Text(), nullable=True)
        table.alter_column("cost", existing_type=sa.Float(), nullable=True)


def downgrade() -> None:
    """Undo: thumbs have no place there."""
    op.execute("DELETE FROM feedback WHERE type = 'thumbs'")
    with op.batch_alter_table("feedback") as table:
        table.alter_column("cost", existing_type=sa.Float(), nullable=False)
        table.alter_column("edited_text", existing_type=sa.Text(), nullable=False)
        table.drop_column("thumb")
