"""Further kinds of feedback, the app's own names of answers, requests found again, what signals say of preferences."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision: str | None = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    with op.batch_alter_table("feedback") as table:
        table.add_column(sa.Column("content", sa.JSON()))
        table.add_column(sa.Column("slot", sa.String(64)))
        table.add_column(sa.Column("source", sa.String(16), nullable=False, server_default="user"))
        table.add_column(sa.Column("weight", sa.Float(), nullable=False, server_default="1"))
        table.add_column(sa.Column("tags", sa.JSON()))
        table.add_column(sa.Column("metadata", sa.JSON()))
    op.create_index("ix_feedback_tenant_id_type_created_at", "feedback", ["tenant_id", "type", "created_at"])
    with op.batch_alter_table("turns") as table:
        table.add_column(sa.Column("client_id", sa.String(128)))
        table.add_column(sa.Column("request_sha256", sa.String(64)))
    for column in ("client_id", "request_sha256"):
        op.create_index(f"ix_turns_tenant_id_user_id_{column}", "turns", ["tenant_id", "user_id", column])
    with op.batch_alter_table("preferences") as table:
        table.add_column(sa.Column("favour", sa.Float(), nullable=False, server_default="0"))
    if op.get_context().dialect.name == "postgresql":  # no samples of what users wrote in the planner's statistics
        for table_name, *columns in (("feedback", "content", "slot", "tags", "metadata"), ("turns", "client_id")):
            for name in columns:
                op.execute(f'ALTER TABLE {table_name} ALTER COLUMN "{name}" SET STATISTICS 0')


def downgrade() -> None:
    """Undo: only edits and thumbs have a place there."""
    op.execute("DELETE FROM feedback WHERE type NOT IN ('edit', 'thumbs')")
    op.drop_column("preferences", "favour")  # in place: a table made anew would take the contexts along
    for column in ("client_id", "request_sha256"):
        op.drop_index(f"ix_turns_tenant_id_user_id_{column}", "turns")
    with op.batch_alter_table("turns") as table:
        table.drop_column("request_sha256")
        table.drop_column("client_id")
    op.drop_index("ix_feedback_tenant_id_type_created_at", "feedback")
    with op.batch_alter_table("feedback") as table:
        for column in ("metadata", "tags", "weight", "source", "slot", "content"):
            table.drop_column(column)
