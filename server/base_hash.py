"""The hash of the served model, which adapters are bound to."""

import asyncio

from adapters.validation import base_directory, base_sha256
from preference.errors import Invalid
from server.settings import Settings


class BaseHash:
    """The served model's hash, read once, at the first adapter: a large model takes minutes.

    None where this machine does not have the model: a remote engine's, or a hub name that was not downloaded here.
    """

    def __init__(self, settings: Settings) -> None:
        self._model = settings.training_base if settings.engine_url is None or settings.model else None
        self._lock = asyncio.Lock()
        self._found: str | None = None

    async def __call__(self) -> str | None:
        """Raises ``Invalid`` where the weights cannot be read."""
        async with self._lock:
            if self._found is None and self._model is not None:
                try:
                    folder = await asyncio.to_thread(base_directory, self._model)
                except Invalid:
                    return None
                try:
                    self._found = await asyncio.to_thread(base_sha256, folder)
                except OSError as error:
                    raise Invalid(f"The base model in {folder.name} cannot be read: {error.strerror}.") from error
        return self._found
