"""Every table. The rows are the truth; indexes, caches and adapter directories are derived or named here.

Each key starts with (tenant_id, user_id), so that no query can be written without its scope; a tombstone alone has
neither.
"""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
)

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    }
)


def _owner() -> tuple[Column[str], Column[str]]:
    return Column("tenant_id", String(64), primary_key=True), Column("user_id", String(256), primary_key=True)


def _of_user() -> ForeignKeyConstraint:
    return ForeignKeyConstraint(["tenant_id", "user_id"], ["users.tenant_id", "users.user_id"], ondelete="CASCADE")


def _spent() -> tuple[Column[int], ...]:
    return tuple(
        Column(name, BigInteger, nullable=False) for name in ("requests", "prompt_tokens", "completion_tokens")
    )


# Times are Unix seconds as floats in UTC: one meaning on both stores.

api_keys = Table(
    "api_keys",
    metadata,
    Column("tenant_id", String(64), primary_key=True),
    Column("id", String(32), primary_key=True),
    Column("name", String(200), nullable=False),
    Column("sha256", String(64), nullable=False, unique=True),
    Column("created_at", Float, nullable=False),
    Column("revoked_at", Float),
    Column("requests_per_minute", Integer),  # None: the server's default; 0: no limit
    Column("in_flight", Integer),  # None: the server's default
    Column("tokens_per_minute", Integer),  # None: the server's default; 0: no limit
    Column("tokens_per_day", BigInteger),  # None: the server's default; 0: no limit
)

users = Table(
    "users",
    metadata,
    *_owner(),
    Column("opaque_id", String(32), nullable=False, unique=True),  # the name adapters carry in the engine
    Column("standing_values", JSON, nullable=False),  # values, list of Value
    Column("active_adapter", Integer, nullable=False),  # 0 = none
    Column("revision", Integer, nullable=False),  # raised by every change that a cache must notice
    Column("created_at", Float, nullable=False),
    Column("pinned", Boolean, nullable=False, server_default=false()),  # nothing but the API changes the active one
    Column("canary_adapter", Integer, nullable=False, server_default="0"),  # tried beside the active one; 0 = none
    Column("canary_share", Float, nullable=False, server_default="0"),  # of the conversations that it answers
    Column("paused", Boolean, nullable=False, server_default=false()),  # nothing new is learned of the user
)

erasures = Table(
    "erasures",  # tombstones: nothing here says who it was
    metadata,
    Column("opaque_id", String(32), primary_key=True),
    Column("erased_at", Float, nullable=False, index=True),
)

turns = Table(
    "turns",
    metadata,
    *_owner(),
    Column("completion_id", String(128), primary_key=True),
    Column("created_at", Float, nullable=False),
    Column("model", String(512), nullable=False),
    Column("request", JSON, nullable=False),  # messages as the caller sent them
    Column("prompt", JSON, nullable=False),  # messages as the engine got them, less what the request has (turns.py)
    Column("prompt_sha256", String(64), nullable=False),
    Column("answers", JSON, nullable=False),  # one text a choice
    Column("applied_values", JSON, nullable=False),
    Column("applied_preferences", JSON, nullable=False),  # [{id, text, score}]
    Column("adapter_version", Integer, nullable=False),
    Column("personalized", String(32), nullable=False),  # none | retrieval | adapter | retrieval+adapter
    Column("prompt_tokens", Integer, nullable=False),
    Column("completion_tokens", Integer, nullable=False),
    Column("partial", Boolean, nullable=False),  # who asked went away meanwhile
    Column("cut", Boolean, nullable=False, server_default=false()),  # ended by max_tokens or a stop sequence
    Column("client_id", String(128)),  # the app's own name of the answer
    Column("request_sha256", String(64)),  # of what was said before the answer (history.py)
    Column("bytes", BigInteger, nullable=False, server_default="0"),  # of the row, about
    Column("first_token_ms", Integer),  # from the request to the first event of a streamed answer
    Column("total_ms", Integer),  # from the request to the end of the answer
    _of_user(),
    Index(None, "tenant_id", "user_id", "created_at"),
    Index(None, "tenant_id", "user_id", "client_id"),
    Index(None, "tenant_id", "user_id", "request_sha256", "created_at"),
    Index(None, "tenant_id", "bytes"),
)

feedback = Table(
    "feedback",
    metadata,
    *_owner(),
    Column("id", String(64), primary_key=True),
    Column("completion_id", String(128), nullable=False),
    Column("choice", Integer, nullable=False),
    Column("type", String(32), nullable=False),  # feedback_kinds.Type
    Column("edited_text", Text),  # of an edit, of a demonstration
    Column("cost", Float),  # of an edit: normalised word edit distance from draft to edited text
    Column("status", String(32), nullable=False),  # pending | learned | nothing_learned | failed | replaced
    Column("reason", Text),
    Column("learned", JSON, nullable=False),  # ids of the preferences learned or confirmed
    Column("idempotency_key", String(255)),
    Column("body_sha256", String(64), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("thumb", String(8)),  # of thumbs: up | down
    Column("candidates", JSON),  # of an edit: what it might show, what became of each and why
    Column("content", JSON),  # of the other kinds (given.py)
    Column("slot", String(64)),  # which of a kind: a newer one replaces its own
    Column("source", String(16), nullable=False, server_default="user"),  # given.Source
    Column("weight", Float, nullable=False, server_default="1"),
    Column("tags", JSON),
    Column("metadata", JSON),
    Column("bytes", BigInteger, nullable=False, server_default="0"),  # of the row, about
    _of_user(),
    Index(None, "tenant_id", "type", "created_at"),
    UniqueConstraint("tenant_id", "user_id", "idempotency_key"),
    Index(None, "tenant_id", "user_id", "completion_id"),
    Index(None, "tenant_id", "user_id", "created_at"),
    Index(None, "tenant_id", "bytes"),
)

preferences = Table(
    "preferences",
    metadata,
    *_owner(),
    Column("id", String(64), primary_key=True),
    Column("text", Text, nullable=False),
    Column("source", String(16), nullable=False),  # learned | stated
    Column("status", String(16), nullable=False),  # active | superseded
    Column("superseded_by", String(64)),
    Column("locked", Boolean, nullable=False),  # learning never changes or supersedes a locked one
    Column("created_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
    Column("favour", Float, nullable=False, server_default="0"),  # what signals say of it, in [-1, 1]
    _of_user(),
)

contexts = Table(
    "contexts",  # where a preference was seen to hold: its evidence and its keys for recall
    metadata,
    *_owner(),
    Column("preference_id", String(64), primary_key=True),
    Column("id", String(64), primary_key=True),
    Column("feedback_id", String(64)),  # None for a stated preference
    Column("text", Text, nullable=False),
    Column("embedder", String(200), nullable=False),
    Column("vector", LargeBinary, nullable=False),  # float32, unit length, little endian
    Column("created_at", Float, nullable=False),
    Column("weight", Float, nullable=False, server_default="1"),  # what it says for the preference; below 0 against
    ForeignKeyConstraint(
        ["tenant_id", "user_id", "preference_id"],
        ["preferences.tenant_id", "preferences.user_id", "preferences.id"],
        ondelete="CASCADE",
    ),
)

jobs = Table(
    "jobs",
    metadata,
    *_owner(),
    Column("id", String(64), primary_key=True),
    Column("kind", String(16), nullable=False),  # learn | train | canary | weigh
    Column("subject", String(64), nullable=False),  # feedback id, or adapter version
    Column("state", String(16), nullable=False),  # queued | running | done | failed
    Column("run_after", Float, nullable=False),
    Column("lease_until", Float),
    Column("fence", BigInteger, nullable=False),  # raised at each lease; a holder of an older one can no longer write
    Column("attempt", Integer, nullable=False),
    Column("deferrals", Integer, nullable=False),  # times put back because the engine was away; not attempts
    Column("error", Text),
    Column("created_at", Float, nullable=False),
    _of_user(),
    Index(None, "state", "run_after"),
    Index(None, "state", "tenant_id", "run_after"),  # tenants take turns
    Index(None, "tenant_id", "user_id", "state"),
)

adapters = Table(
    "adapters",
    metadata,
    *_owner(),
    Column("version", Integer, primary_key=True),
    Column("state", String(16), nullable=False),  # versions.State
    Column("mode", String(32), nullable=False),  # how the gate says it is best served: adapter | retrieval+adapter
    Column("learned_through", Float, nullable=False),  # created_at of the newest edit it learned from
    Column("report", JSON, nullable=False),  # the gate's figures and verdict, readable
    Column("created_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
    Column("learned_from", JSON),  # feedback ids; null: not known, any of them
    Column("activated_at", Float),  # when it last became the active one
    Column("bytes", BigInteger, nullable=False, server_default="0"),  # of its files
    _of_user(),
)

cohort_members = Table(
    "cohort_members",
    metadata,
    *_owner(),
    Column("cohort_id", String(32), primary_key=True),  # the name of its files, as an opaque id is of a user's
    Column("version", Integer, nullable=False),  # 0: its edits taught it; else the user's first version begun from it
    Column("created_at", Float, nullable=False),
    _of_user(),
    Index(None, "tenant_id", "cohort_id"),
)

user_tokens = Table(
    "user_tokens",  # what speaks for one user, for a while: as an API key, but of fewer things
    metadata,
    *_owner(),
    Column("id", String(32), primary_key=True),
    Column("sha256", String(64), nullable=False, unique=True),
    Column("key_id", String(32), nullable=False),  # the API key that made it: revoked, and the token ends as well
    Column("scopes", JSON, nullable=False),  # tokens.Scope
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False, index=True),
    _of_user(),
)

spent_keys = Table(
    "spent_keys",  # idempotency keys of feedback that was deleted: a repeat of it is answered, and stores nothing
    metadata,
    *_owner(),
    Column("key_sha256", String(64), primary_key=True),
    Column("body_sha256", String(64), nullable=False),  # of the key and the body's hash: tells nothing without the key
    Column("answer", JSON, nullable=False),
    Column("spent_at", Float, nullable=False, index=True),
    _of_user(),
)

limits = Table(
    "limits",  # what is spent of rates and budgets by those who have any, counted for all servers (limits.py)
    metadata,
    Column("tenant_id", String(64), primary_key=True),
    Column("subject", String(80), primary_key=True),  # an API key by its id, or a user by a hash of the name
    Column("requests_at", Float, nullable=False),
    Column("tokens_at", Float, nullable=False),
    Column("day", Integer, nullable=False),  # since 1970, in UTC
    Column("tokens", BigInteger, nullable=False),  # of that day, with what answers under way may take
    Column("under_way", JSON, nullable=False),  # {server: [requests, until when that holds]}
    Column("updated_at", Float, nullable=False, index=True),
)

key_days = Table(
    "key_days",  # what was answered for an API key on a day
    metadata,
    Column("tenant_id", String(64), primary_key=True),
    Column("key_id", String(32), primary_key=True),
    Column("day", Integer, primary_key=True),  # since 1970, in UTC
    *_spent(),
)

user_days = Table(
    "user_days",  # what was answered for a user on a day
    metadata,
    *_owner(),
    Column("day", Integer, primary_key=True),
    *_spent(),
    _of_user(),
)

shared_secrets = Table(
    "shared_secrets",  # what all servers make salts with: it opens nothing
    metadata,
    Column("name", String(32), primary_key=True),
    Column("value", LargeBinary, nullable=False),
)
