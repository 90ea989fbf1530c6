"""The first tables: keys, users, turns, feedback, preferences and their contexts, jobs, adapters."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision: str | None = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "api_keys",
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("revoked_at", sa.Float()),
        sa.PrimaryKeyConstraint("tenant_id", "id", name="pk_api_keys"),
        sa.UniqueConstraint("sha256", name="uq_api_keys_sha256"),
    )
    op.create_table(
        "users",
        *_owner(),
        sa.Column("opaque_id", sa.String(32), nullable=False),
        sa.Column("standing_values", sa.JSON(), nullable=False),
        sa.Column("active_adapter", sa.Integer(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "user_id", name="pk_users"),
        sa.UniqueConstraint("opaque_id", name="uq_users_opaque_id"),
    )
    op.create_table(
        "turns",
        *_owner(),
        sa.Column("completion_id", sa.String(128), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("model", sa.String(512), nullable=False),
        sa.Column("request", sa.JSON(), nullable=False),
        sa.Column("prompt", sa.JSON(), nullable=False),
        sa.Column("prompt_sha256", sa.String(64), nullable=False),
        sa.Column("answers", sa.JSON(), nullable=False),
        sa.Column("applied_values", sa.JSON(), nullable=False),
        sa.Column("applied_preferences", sa.JSON(), nullable=False),
        sa.Column("adapter_version", sa.Integer(), nullable=False),
        sa.Column("personalized", sa.String(32), nullable=False),
        sa.Column("prompt_tokens", sa.Integer(), nullable=False),
        sa.Column("completion_tokens", sa.Integer(), nullable=False),
        sa.Column("partial", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "user_id", "completion_id", name="pk_turns"),
        _of_user("turns"),
    )
    op.create_index("ix_turns_tenant_id_user_id_created_at", "turns", ["tenant_id", "user_id", "created_at"])
    op.create_table(
        "feedback",
        *_owner(),
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("completion_id", sa.String(128), nullable=False),
        sa.Column("choice", sa.Integer(), nullable=False),
        sa.Column("type", sa.String(32), nullable=False),
        sa.Column("edited_text", sa.Text(), nullable=False),
        sa.Column("cost", sa.Float(), nullable=False),
        sa.Column("status", sa.String(32), nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("learned", sa.JSON(), nullable=False),
        sa.Column("idempotency_key", sa.String(255)),
        sa.Column("body_sha256", sa.String(64), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "user_id", "id", name="pk_feedback"),
        sa.UniqueConstraint(
            "tenant_id", "user_id", "idempotency_key", name="uq_feedback_tenant_id_user_id_idempotency_key"
        ),
        _of_user("feedback"),
    )
    op.create_index(
        "ix_feedback_tenant_id_user_id_completion_id", "feedback", ["tenant_id", "user_id", "completion_id"]
    )
    op.create_index("ix_feedback_tenant_id_user_id_created_at", "feedback", ["tenant_id", "user_id", "created_at"])
    op.create_table(
        "preferences",
        *_owner(),
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("source", sa.String(16), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("superseded_by", sa.String(64)),
        sa.Column("locked", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("updated_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "user_id", "id", name="pk_preferences"),
        _of_user("preferences"),
    )
    op.create_table(
        "contexts",
        *_owner(),
        sa.Column("preference_id", sa.String(64), nullable=False),
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("feedback_id", sa.String(64)),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("embedder", sa.String(200), nullable=False),
        sa.Column("vector", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "user_id", "preference_id", "id", name="pk_contexts"),
        sa.ForeignKeyConstraint(
            ["tenant_id", "user_id", "preference_id"],
            ["preferences.tenant_id", "preferences.user_id", "preferences.id"],
            name="fk_contexts_preferences",
            ondelete="CASCADE",
        ),
    )
    op.create_table(
        "jobs",
        *_owner(),
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("subject", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("run_after", sa.Float(), nullable=False),
        sa.Column("lease_until", sa.Float()),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("deferrals", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text()),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "user_id", "id", name="pk_jobs"),
        _of_user("jobs"),
    )
    op.create_index("ix_jobs_state_run_after", "jobs", ["state", "run_after"])
    op.create_index("ix_jobs_tenant_id_user_id_state", "jobs", ["tenant_id", "user_id", "state"])
    op.create_table(
        "adapters",
        *_owner(),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("mode", sa.String(32), nullable=False),
        sa.Column("learned_through", sa.Float(), nullable=False),
        sa.Column("report", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("updated_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "user_id", "version", name="pk_adapters"),
        _of_user("adapters"),
    )


def downgrade() -> None:
    """Undo."""
    for table in ("adapters", "jobs", "contexts", "preferences", "feedback", "turns", "users", "api_keys"):
        op.drop_table(table)


def _owner() -> tuple[sa.Column[str], sa.Column[str]]:
    return sa.Column("tenant_id", sa.String(64), nullable=False), sa.Column("user_id", sa.String(256), nullable=False)


def _of_user(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["tenant_id", "user_id"], ["users.tenant_id", "users.user_id"], name=f"fk_{table}_users", ondelete="CASCADE"
    )
