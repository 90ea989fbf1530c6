"""How many bytes the rows that grow with each request take, so that a tenant's can be bounded."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision: str | None = "0010"
branch_labels = None
depends_on = None

_TEXTS = {
    "turns": ("request", "prompt", "answers", "applied_values", "applied_preferences"),
    "feedback": ("edited_text",),
    "adapters": (),
}


def upgrade() -> None:
    """Apply. Adapters of before are not counted: their files' sizes are not in any row."""
    for table, texts in _TEXTS.items():
        with op.batch_alter_table(table) as batch:
            batch.add_column(sa.Column("bytes", sa.BigInteger(), nullable=False, server_default="0"))
        rows = sa.table(table, sa.column("bytes"), *map(sa.column, texts))
        sizes = [sa.func.coalesce(sa.func.length(sa.cast(rows.c[name], sa.Text)), 0) for name in texts]
        if sizes:
            total: sa.ColumnElement[int] = sa.literal(512)
            for one in sizes:
                total = total + one
            op.execute(rows.update().values(bytes=total))
            op.create_index(f"ix_{table}_tenant_id_bytes", table, ["tenant_id", "bytes"])


def downgrade() -> None:
    """Undo."""
    for table, texts in _TEXTS.items():
        if texts:
            op.drop_index(f"ix_{table}_tenant_id_bytes", table)
        with op.batch_alter_table(table) as batch:
            batch.drop_column("bytes")
