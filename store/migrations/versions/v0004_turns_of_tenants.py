"""Tenants take turns: the jobs that are due, tenant by tenant."""

from alembic import op

revision = "0004"
down_revision: str | None = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_index("ix_jobs_state_tenant_id_run_after", "jobs", ["state", "tenant_id", "run_after"])


def downgrade() -> None:
    """Undo."""
    op.drop_index("ix_jobs_state_tenant_id_run_after", "jobs")
