"""Runs inside vLLM: brings a user's version from the store when a request names one that the engine does not have.

vLLM asks a ``LoRAResolver`` then, which this is, so any engine behind a router can serve any user, untold.
The name says whose version it is; what is no such name, an erased user's, or not to the byte what was published for
this base model, is not found. What the store has no longer leaves the engine within a minute, whoever was told.
"""

import asyncio
import atexit
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from adapters.artifacts.directories import Directories
from adapters.artifacts.names import Named, named
from adapters.artifacts.object_store import ObjectStore
from adapters.artifacts.validation import base_directory, base_sha256
from adapters.training.own_folder import own_folder
from store.errors import AttuneError, Invalid, NotFound

log = logging.getLogger("vllm.attune")

PATIENCE = 20.0
"""Seconds that bringing a version may take: the request that named it waits."""
EVERY = 20.0
"""Seconds between two looks at what the store still has."""
FRESH = 120.0
"""Seconds that files stay after their name was forgotten: a request may be on its way to them."""
NAMES = 4096
"""Versions that an engine knows by name at a time, at most."""
_LONGEST = 600.0


class Resolver:
    """Implements vLLM's ``LoRAResolver``. Its folder below ``parent`` is its own, and of ``limit`` bytes, about."""

    def __init__(self, store: ObjectStore, parent: Path, *, limit: int) -> None:
        self._store = store
        self._parent = parent
        self._limit = limit
        self._threads = ThreadPoolExecutor(4, "attune-store")
        self._base: dict[str, str] = {}
        self._opened = ExitStack()
        self._sweeping: asyncio.Task[None] | None = None

    async def start(self, models: Any) -> None:
        """Make the folder, and look after what is in it from now on. ``models`` is vLLM's handler of models."""
        self._root = self._opened.enter_context(own_folder(self._parent))
        self._directories = Directories(self._root, self._store)
        atexit.register(self._opened.close)
        self._sweeping = asyncio.create_task(self._run(models))

    async def close(self) -> None:
        """Look after nothing any more; the folder goes."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            await asyncio.gather(self._sweeping, return_exceptions=True)
        self._threads.shutdown()
        self._opened.close()

    async def resolve_lora(self, base_model_name: str, lora_name: str) -> Any | None:
        """vLLM's request for the adapter of that name; None, and a line in the log, where there is to be none."""
        try:
            path = await self._call(self.bring, base_model_name, lora_name)
        except (AttuneError, TimeoutError, OSError) as error:
            told = error.message if isinstance(error, AttuneError) else f"{type(error).__name__}: {error}"
            log.warning("adapter %.80r is not brought: %s", lora_name, told or "the store takes too long")
            return None
        return import_module("vllm.lora.request").LoRARequest(lora_name, 1, str(path))

    def bring(self, base: str, name: str) -> Path:
        """The folder with the files of a name, checked. Blocking. Raises ``NotFound``, ``Invalid``, and the store's."""
        what = named(name)
        if what is None:
            raise NotFound("that is no adapter's name")
        if self._store.buried(what.opaque_id):
            raise NotFound("its user was erased")
        if what.content is not None:
            return self._directories.candidate(what.opaque_id, what.version, what.content)
        if self._store.manifest(what.opaque_id, what.version) is None:
            raise NotFound("the store does not have that version")
        manifest = self._directories.verified(what.opaque_id, what.version)
        if (own := self.base(base)) is None:
            raise NotFound("the base model is still being read")
        if manifest.base_sha256 not in ("", own):
            raise Invalid("it was made for another base model")
        return self._directories.path(what.opaque_id, what.version)

    def base(self, model: str) -> str | None:
        """The hash of the served model; None until it was read, which takes a large one minutes."""
        return self._base.get(model)

    async def _run(self, models: Any) -> None:
        while True:
            try:
                await self.sweep(models)
            except AttuneError as error:
                log.warning("what is to be gone is not known: %s", error.message)
            except Exception:
                log.exception("adapters could not be looked after")
            await asyncio.sleep(EVERY)

    async def sweep(self, models: Any) -> None:
        """Unload what the store has no longer; forget what nobody used for longest where it is too much.

        Raises ``StoreUnavailable``.
        """
        await self._call(self._read_base, models.model_config.model)
        held = {name: one for name, one in models.lora_requests.items() if self._is_ours(one.lora_path)}
        gone = await self._call(self._gone, list(held))
        for name in gone:
            log.info("adapter %s is not in the store any more", name)
            asked = import_module("vllm.entrypoints.serve.lora.protocol").UnloadLoRAAdapterRequest(lora_name=name)
            await models.unload_lora_adapter(asked)
        # What vLLM's own cache has dropped is in no batch. Its files stay a while: somebody may have asked just now.
        in_use = set(await models.engine_client.list_loras())
        sizes = await self._call(self._sizes)
        idle = [name for name, one in held.items() if name not in gone and one.lora_int_id not in in_use]
        excess = sum(sizes.get(Path(one.lora_path), 0) for one in models.lora_requests.values()) - self._limit
        for name in idle:  # in the order in which they came
            if excess <= 0 and len(models.lora_requests) <= NAMES:
                break
            path = Path(models.lora_requests.pop(name).lora_path)
            excess -= sizes.get(path, 0)
            with suppress(FileNotFoundError):
                os.utime(path)
        locks = models.lora_resolver_lock  # vLLM keeps one for every name that it was ever asked for
        for name in [name for name, lock in locks.items() if name not in models.lora_requests and not lock.locked()]:
            del locks[name]
        known = {one.lora_path for one in models.lora_requests.values()}
        await self._call(self._tidy, known)

    async def forget(self, name: str, path: str) -> None:
        """Remove the files of a version that is unloaded. The gate's second name of one that serves has none."""
        if self._is_ours(path) and not name.endswith("-serving"):
            await self._call(self._remove, Path(path))

    def _remove(self, path: Path) -> None:
        shutil.rmtree(path, ignore_errors=True)
        with suppress(OSError):  # not empty: another version of the user's
            path.parent.rmdir()

    def _is_ours(self, path: str) -> bool:
        return Path(path).is_relative_to(self._root)

    def _read_base(self, model: str) -> None:
        if model not in self._base:
            self._base[model] = base_sha256(base_directory(model))

    def _gone(self, names: list[str]) -> set[str]:
        buried = self._store.all_buried()
        whats = {name: what for name in names if (what := named(name)) is not None}
        return {name for name, what in whats.items() if what.opaque_id in buried or not self._has(what)}

    def _has(self, what: Named) -> bool:
        if what.content is None:
            return self._store.manifest(what.opaque_id, what.version) is not None
        return self._store.has_content(what.opaque_id, what.version, what.content)

    def _folders(self) -> Iterator[Path]:
        return (path for user in self._directories.users() for path in (self._root / user).iterdir())

    def _sizes(self) -> dict[Path, int]:
        found = {}
        for path in self._folders():
            with suppress(FileNotFoundError):
                found[path] = sum(file.stat().st_size for file in path.iterdir())
        return found

    def _tidy(self, known: set[str]) -> None:
        """Remove files whose name was forgotten a while ago."""
        for path in self._folders():
            with suppress(FileNotFoundError):
                if str(path) not in known and time.time() - path.stat().st_mtime > FRESH:
                    shutil.rmtree(path, ignore_errors=True)
        for user in self._directories.users():
            with suppress(OSError):  # not empty
                (self._root / user).rmdir()

    async def _call(self, work: Any, *arguments: Any) -> Any:
        """In threads of our own, so that a slow store holds up nothing else of vLLM's."""
        async with asyncio.timeout(PATIENCE if work == self.bring else _LONGEST):
            return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)


def from_environment() -> Resolver | None:
    """By ``ATTUNE_ADAPTER_STORE``, ``_CACHE_BYTES`` and ``_CACHE_DIR`` of this engine; None without the first."""
    url = os.environ.get("ATTUNE_ADAPTER_STORE")
    if not url:
        return None
    parent = os.environ.get("ATTUNE_ADAPTER_CACHE_DIR") or f"{tempfile.gettempdir()}/attune-adapters-{os.getuid()}"
    return Resolver(ObjectStore(url), Path(parent), limit=int(os.environ.get("ATTUNE_ADAPTER_CACHE_BYTES") or 10 << 30))
