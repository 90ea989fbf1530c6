"""Settings of adapters: when they are trained, how, and how many serve."""

from typing import Annotated, Literal

from pydantic import Field

from adapters.objective import Objective
from adapters.training.allowance import HOURS
from server.options.serving import ServingOptions

SPARE_SLOTS = 4
"""Slots in the engine that are for swaps and gates."""


class AdapterOptions(ServingOptions):
    """How adapters are trained, tried and kept."""

    adapter_min_edits: int = Field(default=30, ge=1, description="New edits after which an adapter is trained.")
    train_at_once: int = Field(
        default=16, ge=1, le=256, description="Users whose adapters one program trains together, by SFT."
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
        f"else all; {SPARE_SLOTS} are for swaps and gates.",
    )

    pinned_users: dict[str, frozenset[str]] = Field(
        default={}, description='Users whose adapters stay loaded once they are, by tenant: `{"acme": ["ann"]}`.'
    )
