"""Every setting, documented where it is defined. Environment variables carry the prefix ``ATTUNE_``."""

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from adapters.lifecycle.activation import Policy
from adapters.objective import Objective
from adapters.recipe import Recipe
from adapters.training.allowance import HOURS
from server.errors import StartRefused
from server.media import DATA, DOMAIN
from server.models.catalog import KNOWN, KnownModel
from server.models.fetch import manifest
from store.keys import MAX_LIMIT, MAX_TOKENS
from store.limits import Limit

BUNDLED_MODEL = Path(__file__).resolve().parent.parent / "lab" / "model"
BUNDLED_NAME = "attune-tiny"
_SPARE_SLOTS = 4
_ORIGIN = re.compile(r"https?://[^/\s,]+|null")


Work = Literal["learn", "train"]
"""What a worker does: learning, and what else is quick; or training."""


class Settings(BaseSettings):
    """What an operator may choose; defaults serve the bundled model on this machine alone."""

    model_config = SettingsConfigDict(env_prefix="ATTUNE_", extra="ignore", frozen=True)

    host: str = Field(default="127.0.0.1", description="Address to listen on. Anything but loopback needs an API key.")
    port: int = Field(default=8000, ge=0, le=65535, description="Port to listen on.")
    data_dir: Path = Field(default=Path("data"), description="Folder for the database, adapters, secrets and logs.")
    database_url: str | None = Field(
        default=None,
        description="`sqlite:///PATH` or `postgresql+psycopg://...`; by default a SQLite file in the data folder.",
    )
    store_timeout: float = Field(
        default=30,
        ge=0.1,
        le=3600,
        description="Seconds that a write may wait for others; then the request is a 503.",
    )
    migrate: bool = Field(
        default=True, description="Apply pending database migrations at start; if false, refuse to start."
    )
    worker_in_process: bool = Field(
        default=True, description="Learn and train in this process; if false run `attune worker`."
    )

    model: str | None = Field(
        default=None,
        description="A folder, a hub name, a name of `attune models list`, or `attune-tiny`, the bundled model. "
        "The default is `attune-135m` once its LoRA is shipped (docs/assistant.md), until then the "
        "bundled model.",
    )
    models_dir: Path = Field(
        default=Path("~/.cache/attune/models"), description="Folder for what `attune models fetch` fetches."
    )
    served_model_name: str | None = Field(
        default=None,
        description="Name that clients ask for; by default the folder's name, the hub name, or the remote "
        "engine's own.",
    )
    engine_url: str | None = Field(
        default=None,
        description="vLLM server to use instead of starting one, `http://host:port`; several of one model with commas.",
    )
    engine_api_key: SecretStr | None = Field(default=None, description="Bearer key that the remote engine asks for.")
    engine_router: bool = Field(
        default=False,
        description="The engine URL is a router, and the vLLMs behind it fetch adapters from "
        "`ATTUNE_ADAPTER_STORE` by the plugin: docs/scale.md.",
    )
    engine_endpoints: str | None = Field(
        default=None,
        description="Addresses of the vLLMs behind the router, which are told of erasures: `http://host:port` "
        "(several with commas), `file:///path` (one a line), `dns://name:port`, "
        "`k8s://namespace/service:port`.",
    )
    engine_by_priority: bool = Field(
        default=False,
        description="The remote engines were started with `--scheduling-policy priority`, so that answers go "
        "before learning.",
    )
    engine_args: str = Field(default="", description="Further arguments for vLLM, as on a command line.")
    engine_environment: str = Field(
        default="",
        description="Names of further environment variables that vLLM gets, with commas, such as credentials to "
        "load a model. It gets no others except those that matter to it.",
    )
    engine_start_timeout: float = Field(default=900, gt=0, description="Seconds vLLM may take to become ready.")
    engine_read_timeout: float = Field(
        default=300, gt=0, description="Seconds without a byte after which a request fails."
    )
    max_model_len: int | None = Field(
        default=None,
        gt=0,
        description="Context length in tokens; by default the model's own, or what the key-value cache holds.",
    )
    dtype: str | None = Field(
        default=None,
        description="Type of the weights; by default `auto`. On a CPU it is `float32` for the bundled model, and "
        "for others if the processor does not multiply bfloat16 and half of the memory holds them.",
    )
    system_role: bool | None = Field(
        default=None,
        description="Whether the chat template has a system role; by default as the served folder's template "
        "shows, and true for a remote engine.",
    )
    gpu_memory_utilization: float | None = Field(
        default=None, gt=0, le=1, description="Share of the memory vLLM may take; by default vLLM's own, 0.3 on a CPU."
    )
    kv_cache_gib: int = Field(default=1, ge=1, description="Memory of the key-value cache in GiB, on a CPU only.")

    embedder: str = Field(
        default="bundled", description="`bundled` (all-MiniLM-L6-v2) or a sentence-transformers name."
    )
    reembed: bool = Field(
        default=False,
        description="Embed contexts of another embedder anew while the server runs; if false, refuse to start. "
        "For upgrades one server after the other: docs/operations.md.",
    )
    recall_k: int = Field(
        default=10,
        ge=0,
        le=50,
        description="Nearest contexts that vote on the preferences of a request; `k` there overrides it.",
    )
    recall_min_score: float = Field(
        default=0.7,
        ge=-1,
        le=1,
        description="Least cosine at which an earlier request has a vote; a higher value recalls less.",
    )
    preference_token_budget: int = Field(default=600, ge=1, description="Tokens that recalled preferences may take.")
    max_preferences: int = Field(default=500, ge=1, description="Active preferences per user.")

    learner_url: str | None = Field(
        default=None,
        description="Another OpenAI-compatible server that says what edits show; by default the engine does.",
    )
    learner_model: str | None = Field(default=None, description="Model to ask at `ATTUNE_LEARNER_URL`.")
    learner_api_key: SecretStr | None = Field(default=None, description="Bearer key for `ATTUNE_LEARNER_URL`.")
    learner_prompt: Path | None = Field(
        default=None,
        description="TOML file with the learner's prompt; by default the model folder's `learner.toml`, or the "
        "general one.",
    )
    learn_concurrency: int = Field(default=4, ge=1, le=256, description="Edits that a worker learns from at a time.")
    history_days: float = Field(
        default=14,
        ge=0,
        le=3650,
        description="Days for which answers are recognised in the history of later requests, to learn from what "
        "the user did with them; 0 turns this off.",
    )
    adapter_min_edits: int = Field(default=30, ge=1, description="New edits after which an adapter is trained.")
    train_at_once: int = Field(
        default=16,
        ge=1,
        le=256,
        description="Users whose adapters one program trains together, by SFT.",
    )
    train_activation_gib: float | None = Field(
        default=None,
        gt=0,
        description="GiB that the activations of a training may take, about; by default half of what is free on "
        "the GPU, or 4 without one.",
    )
    cohort_tenants: frozenset[str] = Field(
        default=frozenset(),
        description="Tenants whose new users may begin from an adapter that users with similar preferences "
        'taught, as JSON like `["acme"]`. docs/adapters.md says what that means for privacy.',
    )
    prior_tenants: frozenset[str] = Field(
        default=frozenset(),
        description="Tenants whose new users first get what most other users of the tenant prefer in that kind of "
        'request, as JSON like `["acme"]`: docs/feedback.md.',
    )
    train_on: str | None = Field(
        default=None,
        description="Ray cluster that runs the training programs, like `ray://host:10001?gpus=1&cpus=2`, with "
        "what a program asks of a node; by default this machine does (`attune[ray]`, docs/scale.md).",
    )
    train_hours: str | None = Field(
        default=None,
        pattern=HOURS,
        description="When trainings may begin, in UTC, like `22:00-06:00`; by default all day.",
    )
    train_seconds_per_hour: float | None = Field(
        default=None,
        gt=0,
        le=3600,
        description="Seconds of an hour that trainings may take, per worker process; by default any.",
    )
    adapter_objective: Objective | None = Field(
        default=None,
        description='How adapters are trained, as JSON like `{"name": "ensemble", "beta": 0.2}` '
        "(`adapters/objective.py`); by default SFT on edits.",
    )
    tenant_objectives: dict[str, Objective] = Field(
        default={}, description="`ATTUNE_ADAPTER_OBJECTIVE` of single tenants, as JSON by tenant."
    )
    control_share: float = Field(
        default=0,
        ge=0,
        le=1,
        description="Share of conversations without preferences and adapter, so that the causes of outcomes can "
        "be told apart.",
    )
    canary_share: float = Field(
        default=0,
        ge=0,
        le=1,
        description="Share of a user's conversations on which a new adapter is tried first; 0: it serves all of "
        "them at once.",
    )
    tenant_canary_shares: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(
        default={}, description="`ATTUNE_CANARY_SHARE` of single tenants, as JSON by tenant."
    )
    canary_edits: int = Field(
        default=40, ge=8, le=500, description="Edited conversations after which a canary is decided, at the latest."
    )
    canary_days: float = Field(
        default=14, gt=0, le=365, description="Days after which a canary is decided, at the latest."
    )
    adapter_versions_kept: int = Field(
        default=8,
        ge=2,
        description="Adapter versions of a user that stay on the disk; older ones that do not serve are retired.",
    )
    erased_edits: Literal["drop", "retrain"] = Field(
        default="drop",
        description="What happens to an active adapter when an edit that it learned from is erased: `drop` ends "
        "it at once, `retrain` when the training without that edit has ended.",
    )
    adapter_rank: int = Field(default=8, ge=1, le=512, description="LoRA rank, one for all users.")
    adapter_store: str | None = Field(
        default=None,
        description="Object store that keeps every adapter, as an fsspec URL like `s3://bucket/folder`; the data "
        "folder is then a cache. By default the data folder alone keeps them.",
    )
    adapter_cache_bytes: int = Field(
        default=10 << 30,
        ge=0,
        description="Bytes of adapters in the data folder if there is a store; the least recently used go.",
    )
    max_loras: int = Field(default=4, ge=1, description="Adapters that one batch may mix.")
    max_cpu_loras: int = Field(default=16, ge=1, description="Adapters that stay loaded; at least `max_loras`.")
    adapter_places_per_tenant: int | None = Field(
        default=None,
        ge=1,
        description="How many of these one tenant may take. By default three quarters where several tenants have keys, "
        f"else all; {_SPARE_SLOTS} are for swaps and gates.",
    )

    pinned_users: dict[str, frozenset[str]] = Field(
        default={},
        description='Users whose adapters stay loaded once they are, by tenant: `{"acme": ["ann"]}`.',
    )

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
        default=1 << 30,
        gt=0,
        description="Largest import in bytes: an adapter, or a file of a user's past.",
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
    requests_per_minute: int = Field(
        default=0,
        ge=0,
        le=MAX_LIMIT,
        description="Requests a minute per API key without a limit of its own; 0 is no limit.",
    )
    requests_per_minute_per_user: int = Field(
        default=0, ge=0, le=MAX_LIMIT, description="Answers a minute per user; 0 is no limit."
    )
    tokens_per_minute: int = Field(
        default=0,
        ge=0,
        le=MAX_LIMIT,
        description="Tokens a minute of prompts and answers per API key without a limit of its own; 0 is no limit.",
    )
    tokens_per_minute_per_user: int = Field(default=0, ge=0, le=MAX_LIMIT, description="The same per user.")
    tokens_per_day: int = Field(
        default=0,
        ge=0,
        le=MAX_TOKENS,
        description="Tokens a day (UTC) of prompts and answers per API key without a budget of its own; 0 is no limit.",
    )
    tokens_per_day_per_user: int = Field(default=0, ge=0, le=MAX_TOKENS, description="The same per user.")
    answer_tokens: int = Field(
        default=4096,
        ge=1,
        le=MAX_LIMIT,
        description="Longest answer if tokens are limited and the request does not say how long it may be.",
    )
    signals_per_minute: int = Field(
        default=1200,
        ge=0,
        le=MAX_LIMIT,
        description="Signals and outcomes a minute per API key and server process; 0 is no limit.",
    )
    in_flight_per_key: int = Field(
        default=64,
        ge=1,
        le=MAX_LIMIT,
        description="Concurrent requests per API key without a limit of its own; more get 429.",
    )
    in_flight_per_user: int = Field(
        default=0, ge=0, le=MAX_LIMIT, description="Concurrent answers per user; 0 is no limit."
    )
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
        default=30,
        gt=0,
        description="Seconds in which a request must arrive whole; of an import, some of it.",
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

    @property
    def operators(self) -> frozenset[str]:
        """Ids of the operators' keys."""
        return frozenset(one.strip() for one in self.operator_keys.split(",") if one.strip())

    @property
    def cors(self) -> tuple[str, ...]:
        """The origins, each once."""
        return tuple(dict.fromkeys(one.strip() for one in self.cors_origins.split(",") if one.strip()))

    @property
    def database(self) -> str:
        """The database URL in force."""
        return self.database_url or f"sqlite:///{self.data_dir / 'attune.db'}"

    @property
    def engine_urls(self) -> tuple[str, ...]:
        """The remote engines, each once; none when the engine is ours."""
        return tuple(dict.fromkeys(url.strip() for url in (self.engine_url or "").split(",") if url.strip()))

    @property
    def bundled(self) -> bool:
        """True when the engine is ours and serves the bundled model."""
        return self.names_bundled and self.engine_url is None

    @property
    def names_bundled(self) -> bool:
        """True when the model, if one is named, is the bundled one."""
        return self.model in (None, BUNDLED_NAME)

    @property
    def models_folder(self) -> Path:
        """Where fetched models lie."""
        return self.models_dir.expanduser().absolute()

    @property
    def known_model(self) -> KnownModel | None:
        """The model of `attune models list` that ``model`` names."""
        return KNOWN.get(self.model or "")

    @property
    def model_source(self) -> str:
        """The folder or hub name given to vLLM."""
        if self.known_model is not None:
            return str(self.known_model.folder(self.models_folder))
        return str(BUNDLED_MODEL) if self.model in (None, BUNDLED_NAME) else self.model

    @property
    def model_folder(self) -> Path | None:
        """The model's folder when it is a path, else ``None`` (a hub name)."""
        source = self.model_source
        path = Path(source).expanduser()
        looks_like_path = source.startswith(("/", ".", "~")) or path.exists() or source.count("/") > 1
        return path if looks_like_path else None

    @property
    def model_name(self) -> str | None:
        """The name clients ask for; ``None`` when a remote engine is to be asked for its own."""
        if self.served_model_name or self.engine_url:
            return self.served_model_name
        if self.model in (None, BUNDLED_NAME):
            return BUNDLED_NAME
        return self.model_folder.resolve().name if self.model_folder else self.model

    @property
    def training_base(self) -> str:
        """The base model that adapters are trained on: an absolute path or a hub name.

        It is what the engine serves, as far as we know it; the trainer, which runs in a folder of its own, reads it.
        """
        if self.engine_url is not None and self.model is None:
            return "a remote engine (set ATTUNE_MODEL)"
        return str(self.model_folder.resolve()) if self.model_folder else self.model_source

    @property
    def adapter_slots(self) -> int:
        """How many adapters serve at a time: a swap and a gate load some beside them."""
        return max(1, self.max_cpu_loras - _SPARE_SLOTS)

    @property
    def limit_of_key(self) -> Limit:
        """What an API key may that has no limits of its own."""
        return Limit(self.requests_per_minute, self.tokens_per_minute, self.tokens_per_day, self.in_flight_per_key)

    @property
    def limit_of_user(self) -> Limit:
        """What a user may."""
        return Limit(
            self.requests_per_minute_per_user,
            self.tokens_per_minute_per_user,
            self.tokens_per_day_per_user,
            self.in_flight_per_user,
        )

    @property
    def in_flight_of_tenant(self) -> int:
        """How many requests a tenant may have at a time."""
        return self.in_flight_per_tenant or _most(self.in_flight_total)

    def slots_of_tenant(self, *, several: bool) -> int:
        """How many adapters one of ``several`` tenants may have in the engine."""
        return self.adapter_places_per_tenant or (_most(self.adapter_slots) if several else self.adapter_slots)

    @property
    def recipe(self) -> Recipe:
        """How adapters are trained, but for tenants' own objectives; what is imported has to fit in."""
        objective = self.adapter_objective or Objective()
        return Recipe(
            rank=self.adapter_rank,
            alpha=2 * self.adapter_rank,
            activation_gib=self.train_activation_gib,
            objective=objective,
        )

    @property
    def policy(self) -> Policy:
        """What adapter versions do by themselves."""
        return Policy(
            canary_share=self.canary_share,
            tenant_canary_shares=self.tenant_canary_shares,
            canary_edits=self.canary_edits,
            canary_days=self.canary_days,
            kept=self.adapter_versions_kept,
            erased_edits=self.erased_edits,
        )

    @property
    def media(self) -> frozenset[str]:
        """What URLs of media may be of: ``data``, and hosts."""
        return frozenset(name.strip().lower() for name in self.allow_media.split(",") if name.strip())

    @property
    def loopback(self) -> bool:
        """True when only this machine can reach the server."""
        try:
            return self.host == "localhost" or ipaddress.ip_address(self.host.strip("[]")).is_loopback
        except ValueError:
            return False

    def check(self) -> None:
        """Raise ``StartRefused`` in one sentence when these settings cannot work."""
        if strange := sorted(name for name in self.media if name != DATA and not DOMAIN.fullmatch(name)):
            raise StartRefused(f"ATTUNE_ALLOW_MEDIA lists `data` and hosts, with commas; {strange[0]!r} is neither.")
        if self.max_cpu_loras < self.max_loras:
            raise StartRefused("ATTUNE_MAX_CPU_LORAS must be at least ATTUNE_MAX_LORAS.")
        if sum(map(len, self.pinned_users.values())) >= self.adapter_slots:
            raise StartRefused(
                f"ATTUNE_PINNED_USERS must be fewer than the places for adapters, {self.adapter_slots}: "
                f"ATTUNE_MAX_CPU_LORAS less {_SPARE_SLOTS}."
            )
        if self.learner_url is not None:
            if not self.learner_url.startswith(("http://", "https://")):
                raise StartRefused(f"ATTUNE_LEARNER_URL must start with http:// or https://, got {self.learner_url!r}.")
            if not self.learner_model:
                raise StartRefused("ATTUNE_LEARNER_URL needs ATTUNE_LEARNER_MODEL: the model to ask there.")
        known = self.known_model
        if known is not None and manifest(known, self.models_folder) is None:
            raise StartRefused(f"ATTUNE_MODEL={known.name} is not fetched: run `attune models fetch {known.name}`.")
        for origin in self.cors:
            if origin != "*" and not _ORIGIN.fullmatch(origin):
                raise StartRefused(f"ATTUNE_CORS_ORIGINS takes origins like https://app.example, got {origin!r}.")
        if self.engine_url is not None:
            for url in self.engine_urls or (self.engine_url,):
                if not url.startswith(("http://", "https://")):
                    raise StartRefused(f"ATTUNE_ENGINE_URL must start with http:// or https://, got {url!r}.")
        if self.engine_router:
            self._check_router()
        if self.engine_url is not None:
            return
        folder = self.model_folder
        if folder is not None and not (folder / "config.json").is_file():
            if self.names_bundled:
                raise StartRefused(
                    f"The bundled model is missing from {folder}: set ATTUNE_MODEL to a folder or hub name."
                )
            found = "has no config.json" if folder.is_dir() else "does not exist"
            raise StartRefused(f"ATTUNE_MODEL={self.model} {found}: give a model folder or a hub name.")

    def _check_router(self) -> None:
        if len(self.engine_urls) != 1:
            raise StartRefused("ATTUNE_ENGINE_ROUTER needs one ATTUNE_ENGINE_URL: the router's.")
        if not self.adapter_store:
            raise StartRefused("ATTUNE_ENGINE_ROUTER needs ATTUNE_ADAPTER_STORE: engines bring adapters from there.")
        if not self.engine_endpoints:
            raise StartRefused("ATTUNE_ENGINE_ROUTER needs ATTUNE_ENGINE_ENDPOINTS: erasures are told to each engine.")
        if self.pinned_users or self.adapter_places_per_tenant:
            raise StartRefused(
                "ATTUNE_PINNED_USERS and ATTUNE_ADAPTER_PLACES_PER_TENANT are for a list of engines: behind a router "
                "each engine keeps what it was last asked for."
            )


def _most(number: int) -> int:
    """Three quarters: what one tenant may take of what all share."""
    return -(-3 * number // 4)
