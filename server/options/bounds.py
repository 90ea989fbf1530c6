"""Settings of what is kept, and how much may be asked; of logs and operators."""

from typing import Any, Literal

from pydantic import Field

from server.options.adapters import AdapterOptions
from store.keys import MAX_LIMIT, MAX_TOKENS


def _limit(description: str, *, default: int = 0, least: int = 0, most: int = MAX_LIMIT) -> Any:
    return Field(default=default, ge=least, le=most, description=description)


class Bounds(AdapterOptions):
    """How much is kept, and how much may be asked."""

    bytes_per_tenant: int | None = Field(
        default=None,
        ge=1,
        description="Bytes that may be kept for a tenant, about: turns, feedback, adapters, preferences; more is "
        "a 403. By default any.",
    )
    retain_jobs_days: float = Field(
        default=30, gt=0, description="Days after which finished jobs are deleted; what they did stays."
    )
    retain_turns_days: float | None = Field(
        default=None,
        gt=0,
        description="Days after which turns without standing edits are deleted; by default they are kept.",
    )

    retain_usage_days: float = Field(default=400, gt=0, description="Days for which usage by day is kept.")

    commit: str | None = Field(
        default=None, description="The code's commit for adapters' manifests; by default git is asked."
    )
    import_limit: int = Field(
        default=1 << 30, gt=0, description="Largest import in bytes: an adapter, or a file of a user's past."
    )
    body_limit: int = Field(default=4 << 20, gt=0, description="Largest request body in bytes.")
    messages_limit: int = Field(default=500, gt=0, description="Messages per request.")
    edit_limit: int = Field(default=100_000, gt=0, description="Longest edited text in characters.")
    choices_limit: int = Field(default=4, ge=1, description="Largest `n`.")
    logprobs_limit: int = Field(default=5, ge=0, description="Largest `top_logprobs`.")
    allow_media: str = Field(
        default="",
        description="Media that message parts may name, with commas: hosts that the engine may fetch from, and "
        "`data` for `data:` URLs.",
    )
    shared_limits: bool = Field(
        default=False,
        description="Count all limits in the database for all servers; else each server counts its own. Tokens a "
        "day are always counted together.",
    )
    requests_per_minute: int = _limit("Requests a minute per API key without a limit of its own; 0 is no limit.")
    requests_per_minute_per_user: int = _limit("Answers a minute per user; 0 is no limit.")
    tokens_per_minute: int = _limit(
        "Tokens a minute of prompts and answers per API key without a limit of its own; 0 is no limit."
    )
    tokens_per_minute_per_user: int = _limit("The same per user.")
    tokens_per_day: int = _limit(
        "Tokens a day (UTC) of prompts and answers per API key without a budget of its own; 0 is no limit.",
        most=MAX_TOKENS,
    )
    tokens_per_day_per_user: int = _limit("The same per user.", most=MAX_TOKENS)
    answer_tokens: int = _limit(
        "Longest answer if tokens are limited and the request does not say how long it may be.", least=1, default=4096
    )
    signals_per_minute: int = _limit(
        "Signals and outcomes a minute per API key and server process; 0 is no limit.", default=1200
    )
    in_flight_per_key: int = _limit(
        "Concurrent requests per API key without a limit of its own; more get 429.", least=1, default=64
    )
    in_flight_per_user: int = _limit("Concurrent answers per user; 0 is no limit.")
    in_flight_per_tenant: int | None = Field(
        default=None,
        ge=1,
        description="Concurrent requests of a tenant's keys together, in one server; more get 429. By default three "
        "quarters of `ATTUNE_IN_FLIGHT_TOTAL`.",
    )
    in_flight_total: int = Field(
        default=256, ge=1, description="Concurrent requests of one server in all; more get 503."
    )
    drain_seconds: float = Field(
        default=20, ge=0, description="How long a stopping server waits for answers under way; then it cuts them."
    )
    drain_grace_seconds: float = Field(
        default=3,
        ge=0,
        description="Part of that time in which it still accepts requests while `/ready` says 503, so that load "
        "balancers notice.",
    )
    request_timeout: float = Field(
        default=30, gt=0, description="Seconds in which a request must arrive whole; of an import, some of it."
    )
    connections_limit: int = Field(default=4096, ge=1, description="Open connections; more are closed at once.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least level that is logged: `debug`, `info`, `warning`, `error`."
    )
    log_format: Literal["text", "json"] = Field(default="text", description="`text`, or `json` for one object a line.")
    metrics: Literal["loopback", "all", "off"] = Field(
        default="loopback",
        description="Who may read `/metrics`: this machine (`loopback`), whoever reaches the port (`all`), or nobody "
        "(`off`). It names tenants.",
    )
    otlp_endpoint: str | None = Field(
        default=None,
        description="OpenTelemetry collector for traces, `http://host:4318`; the `OTEL_*` variables work, too.",
    )

    root_path: str = Field(
        default="",
        pattern=r"^(/[A-Za-z0-9._~-]+)*$",
        description="Path below which a proxy puts the server, like `/attune`, whether the proxy keeps it or not.",
    )
    cors_origins: str = Field(
        default="",
        description="Origins whose pages may ask, like `https://app.example`, with commas; `*` is any, the "
        "default none. Give pages tokens of one user, never a key.",
    )

    operator_keys: str = Field(
        default="",
        description="Ids of API keys, with commas, that may make and revoke keys over the API and see figures of "
        "the whole server.",
    )
