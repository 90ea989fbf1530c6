"""Users who have paused learning; how long an answer took."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision: str | None = "0014"
branch_labels = None
depends_on = None

_TIMINGS = ("first_token_ms", "total_ms")


def upgrade() -> None:
    """Apply."""
    op.add_column("users", sa.Column("paused", sa.Boolean(), nullable=False, server_default=sa.false()))
    for name in _TIMINGS:
        op.add_column("turns", sa.Column(name, sa.Integer()))


def downgrade() -> None:
    """Undo, in place: a table made anew would take along what refers to it."""
    for name in _TIMINGS:
        op.drop_column("turns", name)
    op.drop_column("users", "paused")
