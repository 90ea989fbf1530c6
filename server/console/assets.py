"""The console's files as they lie in the package, read once: bytes, gzip and media type by name."""

import gzip
import hashlib
import mimetypes
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

_TYPES = {".js": "text/javascript", ".mjs": "text/javascript", ".json": "application/json", ".txt": "text/plain"}
_LEAST = 200  # bytes that are worth packing


@dataclass(frozen=True)
class Asset:
    """One file. ``packed`` is its gzip, None where that is not shorter."""

    content: bytes
    packed: bytes | None
    media_type: str
    etag: str


@cache
def assets() -> dict[str, Asset]:
    """By path below the package: ``static/app.js``, ``locales/en.json``, ``vendor/diff.mjs``."""
    root = files(__package__)
    folders = ("static", "vendor", "locales")
    return {path: _read(path, file) for name in folders for path, file in _below(root / name, name)}


@cache
def version() -> str:
    """One name for all of their contents: what has it in its path never changes."""
    digests = (f"{path} {asset.etag}" for path, asset in sorted(assets().items()))
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()[:16]


@cache
def page() -> str:
    """The one page, which names the files by their version."""
    return files(__package__).joinpath("index.html").read_text("utf-8").replace("{version}", version())


def _below(folder: Traversable, prefix: str) -> list[tuple[str, Traversable]]:
    found: list[tuple[str, Traversable]] = []
    for entry in folder.iterdir():
        path = f"{prefix}/{entry.name}"
        found += _below(entry, path) if entry.is_dir() else [(path, entry)]
    return found


def _read(path: str, file: Traversable) -> Asset:
    content = file.read_bytes()
    packed = gzip.compress(content, 9, mtime=0) if len(content) >= _LEAST else content
    suffix = path[path.rindex(".") :]
    media_type = _TYPES.get(suffix) or mimetypes.guess_type(path)[0] or "application/octet-stream"
    if media_type.startswith("text/") or suffix == ".json":
        media_type += "; charset=utf-8"
    etag = f'"{hashlib.sha256(content).hexdigest()[:24]}"'
    return Asset(content, packed if len(packed) < len(content) else None, media_type, etag)
