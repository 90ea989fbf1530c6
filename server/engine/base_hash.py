"""The hash of the served model, which adapters are bound to."""

import asyncio

from adapters.artifacts.validation import base_sha256
from server.settings import Settings
from store.errors import Invalid


class BaseHash:
    """The served model's hash, read once, at the first adapter: a large model takes minutes. None without a folder."""

    def __init__(self, settings: Settings) -> None:
        self._folder = settings.model_folder if settings.engine_url is None or settings.model else None
        self._lock = asyncio.Lock()
        self._found: str | None = None

    async def __call__(self) -> str | None:
        """Raises ``Invalid`` for a folder whose weights cannot be read."""
        folder = self._folder
        async with self._lock:
            if self._found is None and folder is not None and folder.is_dir():
                try:
                    self._found = await asyncio.to_thread(base_sha256, folder)
                except OSError as error:
                    raise Invalid(f"The base model in {folder.name} cannot be read: {error.strerror}.") from error
        return self._found
