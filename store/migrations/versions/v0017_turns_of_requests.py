"""A user's turns of one request are found in their order in time."""

from alembic import op

revision = "0017"
down_revision: str | None = "0016"
branch_labels = None
depends_on = None

_BEFORE = ["tenant_id", "user_id", "request_sha256"]
_NOW = [*_BEFORE, "created_at"]


def upgrade() -> None:
    """Apply."""
    op.create_index("ix_turns_" + "_".join(_NOW), "turns", _NOW)
    op.drop_index("ix_turns_" + "_".join(_BEFORE), "turns")


def downgrade() -> None:
    """Undo."""
    op.create_index("ix_turns_" + "_".join(_BEFORE), "turns", _BEFORE)
    op.drop_index("ix_turns_" + "_".join(_NOW), "turns")
