"""Tombstones of erased users; on PostgreSQL, no samples of users' texts in the planner's statistics."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision: str | None = "0002"
branch_labels = None
depends_on = None

# PostgreSQL keeps sampled values in pg_statistic, which no DELETE reaches. No plan here depends on these columns'.
_UNSAMPLED = {
    "users": ("user_id", "standing_values"),
    "turns": ("user_id", "completion_id", "request", "prompt", "answers", "applied_values", "applied_preferences"),
    "feedback": ("user_id", "completion_id", "edited_text", "reason", "learned", "idempotency_key"),
    "preferences": ("user_id", "text"),
    "contexts": ("user_id", "text", "vector"),
    "jobs": ("user_id", "error"),
    "adapters": ("user_id", "report"),
}


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "erasures",
        sa.Column("opaque_id", sa.String(32), nullable=False),
        sa.Column("erased_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("opaque_id", name="pk_erasures"),
    )
    op.create_index("ix_erasures_erased_at", "erasures", ["erased_at"])
    _sample(0)


def downgrade() -> None:
    """Undo."""
    _sample(-1)
    op.drop_table("erasures")


def _sample(values: int) -> None:
    if op.get_context().dialect.name == "postgresql":
        for table, columns in _UNSAMPLED.items():
            changes = ", ".join(f"ALTER COLUMN {column} SET STATISTICS {values}" for column in columns)
            op.execute(f"ALTER TABLE {table} {changes}")
