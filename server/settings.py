"""The settings in force, and what follows from them; `options/` defines each. Variables begin with ``ATTUNE_``."""

import ipaddress
import re
from pathlib import Path
from typing import Literal

from adapters.lifecycle.activation import Policy
from adapters.objective import Objective
from adapters.recipe import Recipe
from server.errors import StartRefused
from server.media import DATA, DOMAIN
from server.models.catalog import KNOWN, KnownModel
from server.models.fetch import manifest
from server.options.adapters import SPARE_SLOTS
from server.options.bounds import Bounds
from store.limits import Limit

BUNDLED_MODEL = Path(__file__).resolve().parent.parent / "lab" / "model"
BUNDLED_NAME = "attune-tiny"
_ORIGIN = re.compile(r"https?://[^/\s,]+|null")


Work = Literal["learn", "train"]
"""What a worker does: learning, and what else is quick; or training."""


class Settings(Bounds):
    """What an operator may choose; defaults serve the bundled model on this machine alone."""

    @property
    def operators(self) -> frozenset[str]:
        """Ids of the operators' keys."""
        return frozenset(listed(self.operator_keys))

    @property
    def cors(self) -> tuple[str, ...]:
        """The origins, each once."""
        return listed(self.cors_origins)

    @property
    def database(self) -> str:
        """The database URL in force."""
        return self.database_url or f"sqlite:///{self.data_dir / 'attune.db'}"

    @property
    def engine_urls(self) -> tuple[str, ...]:
        """The remote engines, each once; none when the engine is ours."""
        return listed(self.engine_url or "")

    @property
    def engine_key(self) -> str | None:
        """The remote engine's bearer key."""
        return self.engine_api_key.get_secret_value() if self.engine_api_key else None

    @property
    def learner_key(self) -> str | None:
        """The bearer key of the learner's own model."""
        return self.learner_api_key.get_secret_value() if self.learner_api_key else None

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
        if self.names_bundled:
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
        return max(1, self.max_cpu_loras - SPARE_SLOTS)

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
        return Recipe(
            rank=self.adapter_rank,
            alpha=2 * self.adapter_rank,
            activation_gib=self.train_activation_gib,
            objective=self.adapter_objective or Objective(),
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
        return frozenset(listed(self.allow_media.lower()))

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
                f"ATTUNE_MAX_CPU_LORAS less {SPARE_SLOTS}."
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


def listed(names: str) -> tuple[str, ...]:
    """What is written with commas in between, each once."""
    return tuple(dict.fromkeys(name.strip() for name in names.split(",") if name.strip()))


def _most(number: int) -> int:
    """Three quarters: what one tenant may take of what all share."""
    return -(-3 * number // 4)
