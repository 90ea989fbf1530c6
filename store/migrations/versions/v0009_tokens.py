"""Tokens that speak for one user, and idempotency keys of feedback that was deleted since."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision: str | None = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    _of_user(
        "user_tokens",
        "id",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("key_id", sa.String(32), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=False),
        sa.UniqueConstraint("sha256", name="uq_user_tokens_sha256"),
    )
    op.create_index("ix_user_tokens_expires_at", "user_tokens", ["expires_at"])
    _of_user(
        "spent_keys",
        "key_sha256",
        sa.Column("key_sha256", sa.String(64), nullable=False),
        sa.Column("body_sha256", sa.String(64), nullable=False),
        sa.Column("answer", sa.JSON(), nullable=False),
        sa.Column("spent_at", sa.Float(), nullable=False),
    )
    op.create_index("ix_spent_keys_spent_at", "spent_keys", ["spent_at"])
    if op.get_context().dialect.name == "postgresql":  # no samples of users' ids in the planner's statistics
        for table, *columns in (("user_tokens", "user_id", "scopes"), ("spent_keys", "user_id", "answer")):
            for column in columns:
                op.execute(f"ALTER TABLE {table} ALTER COLUMN {column} SET STATISTICS 0")


def downgrade() -> None:
    """Undo."""
    op.drop_table("spent_keys")
    op.drop_table("user_tokens")


def _of_user(name: str, key: str, *columns: sa.schema.SchemaItem) -> None:
    op.create_table(
        name,
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("user_id", sa.String(256), nullable=False),
        *columns,
        sa.PrimaryKeyConstraint("tenant_id", "user_id", key, name=f"pk_{name}"),
        sa.ForeignKeyConstraint(
            ["tenant_id", "user_id"],
            ["users.tenant_id", "users.user_id"],
            name=f"fk_{name}_users",
            ondelete="CASCADE",
        ),
    )
