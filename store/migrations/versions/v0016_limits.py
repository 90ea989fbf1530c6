"""Limits that all servers count together, limits in tokens, what was answered a day, and one secret for all servers."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision: str | None = "0015"
branch_labels = None
depends_on = None

_OF_KEY = (("tokens_per_minute", sa.Integer()), ("tokens_per_day", sa.BigInteger()))


def upgrade() -> None:
    """Apply."""
    for name, kind in _OF_KEY:
        op.add_column("api_keys", sa.Column(name, kind))
    op.create_table(
        "limits",
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("subject", sa.String(80), nullable=False),
        sa.Column("requests_at", sa.Float(), nullable=False),
        sa.Column("tokens_at", sa.Float(), nullable=False),
        sa.Column("day", sa.Integer(), nullable=False),
        sa.Column("tokens", sa.BigInteger(), nullable=False),
        sa.Column("under_way", sa.JSON(), nullable=False),
        sa.Column("updated_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "subject", name="pk_limits"),
    )
    op.create_index("ix_limits_updated_at", "limits", ["updated_at"])
    op.create_table(
        "key_days",
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("key_id", sa.String(32), nullable=False),
        sa.Column("day", sa.Integer(), nullable=False),
        *_spent(),
        sa.PrimaryKeyConstraint("tenant_id", "key_id", "day", name="pk_key_days"),
    )
    op.create_table(
        "user_days",
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("user_id", sa.String(256), nullable=False),
        sa.Column("day", sa.Integer(), nullable=False),
        *_spent(),
        sa.PrimaryKeyConstraint("tenant_id", "user_id", "day", name="pk_user_days"),
        sa.ForeignKeyConstraint(
            ["tenant_id", "user_id"],
            ["users.tenant_id", "users.user_id"],
            name="fk_user_days_users",
            ondelete="CASCADE",
        ),
    )
    op.create_table(
        "shared_secrets",
        sa.Column("name", sa.String(32), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_shared_secrets"),
    )
    if op.get_context().dialect.name == "postgresql":  # no samples of users' ids in the planner's statistics
        op.execute("ALTER TABLE user_days ALTER COLUMN user_id SET STATISTICS 0")


def downgrade() -> None:
    """Undo, in place."""
    for table in ("shared_secrets", "user_days", "key_days", "limits"):
        op.drop_table(table)
    for name, _ in _OF_KEY:
        op.drop_column("api_keys", name)


def _spent() -> list[sa.Column[int]]:
    return [
        sa.Column(name, sa.BigInteger(), nullable=False) for name in ("requests", "prompt_tokens", "completion_tokens")
    ]
