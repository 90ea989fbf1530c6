"""Who taught a cohort adapter, and whose versions began from one."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision: str | None = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "cohort_members",
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("user_id", sa.String(256), nullable=False),
        sa.Column("cohort_id", sa.String(32), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "user_id", "cohort_id", name="pk_cohort_members"),
        sa.ForeignKeyConstraint(
            ["tenant_id", "user_id"],
            ["users.tenant_id", "users.user_id"],
            name="fk_cohort_members_users",
            ondelete="CASCADE",
        ),
    )
    op.create_index("ix_cohort_members_tenant_id_cohort_id", "cohort_members", ["tenant_id", "cohort_id"])
    if op.get_context().dialect.name == "postgresql":  # no samples of users' ids in the planner's statistics
        op.execute("ALTER TABLE cohort_members ALTER COLUMN user_id SET STATISTICS 0")
        op.execute("ALTER TABLE adapters ALTER COLUMN learned_from SET STATISTICS 0")


def downgrade() -> None:
    """Undo."""
    op.drop_table("cohort_members")
