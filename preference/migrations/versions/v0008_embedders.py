"""Contexts by their embedder: a server looks at its start for what another one has embedded."""

from alembic import op

revision = "0008"
down_revision: str | None = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_index("ix_contexts_embedder", "contexts", ["embedder"])


def downgrade() -> None:
    """Undo."""
    op.drop_index("ix_contexts_embedder", "contexts")
