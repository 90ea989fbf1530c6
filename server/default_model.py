"""Which model is served where none is named: the assistant, fetched once, or the bundled one where it cannot be had."""

import os
from collections.abc import Callable

from server.models.catalog import DEFAULT, KnownModel
from server.models.failures import FetchFailed
from server.models.fetch import Report, fetch, manifest
from server.processor import cores, memory
from server.settings import BUNDLED_NAME, Settings

LEAST_MEMORY = 4 << 30
"""Bytes that a machine has to have: with vLLM, its cache of 1 GiB and the embedder, the model took 3.3 GiB."""

Say = Callable[[str], None]


def as_found(settings: Settings, *, model: KnownModel | None = DEFAULT) -> Settings:
    """``settings`` with what would be served if nothing could be fetched now."""
    unnamed = settings.model is None and settings.engine_url is None
    if model is not None and unnamed and manifest(model, settings.models_folder) is not None:
        return settings.model_copy(update={"model": model.name})
    return settings


def with_default(
    settings: Settings, say: Say, report: Report, *, model: KnownModel | None = DEFAULT, held: int | None = None
) -> Settings:
    """``settings`` with a model to serve: ``model``, on a machine with ``held`` bytes of memory; by default, as it is.

    Raises nothing: without network, room or memory the bundled model serves, and ``say`` is told why and what to do.
    """
    if model is None or settings.model is not None or settings.engine_url is not None:
        return settings
    name, why = model.name, None
    held = memory() if held is None else held
    if held < LEAST_MEMORY:
        why = f"This machine has {held / (1 << 30):.1f} GiB of memory, and {name} needs {LEAST_MEMORY >> 30}."
    elif manifest(model, settings.models_folder) is None:
        try:
            fetch(model, settings.models_folder, report)
        except FetchFailed as error:
            why = error.message
    if why is not None:
        say(
            f"{why} The bundled model serves instead, which knows only a few hundred words: "
            f"ATTUNE_MODEL={BUNDLED_NAME} asks for it, and the next start tries again."
        )
        name = BUNDLED_NAME
    elif cores() == 1:
        say("This machine has one core, so answers are slow: ATTUNE_ENGINE_URL takes a vLLM that runs elsewhere.")
    os.environ["ATTUNE_MODEL"] = name  # children read the same settings
    return settings.model_copy(update={"model": name})
