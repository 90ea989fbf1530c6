"""Settings of the server itself, the engine, recall and learning."""

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class ServingOptions(BaseSettings):
    """What is served, and how it learns."""

    model_config = SettingsConfigDict(env_prefix="ATTUNE_", extra="ignore", frozen=True)

    host: str = Field(default="127.0.0.1", description="Address to listen on. Anything but loopback needs an API key.")
    port: int = Field(default=8000, ge=0, le=65535, description="Port to listen on.")
    data_dir: Path = Field(default=Path("data"), description="Folder for the database, adapters, secrets and logs.")
    database_url: str | None = Field(
        default=None,
        description="`sqlite:///PATH` or `postgresql+psycopg://...`; by default a SQLite file in the data folder.",
    )
    store_timeout: float = Field(
        default=30, ge=0.1, le=3600, description="Seconds that a write may wait for others; then the request is a 503."
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
        "The default is `attune-135m`, fetched once (docs/assistant.md).",
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
