"""Where an adapter comes from: the manifest in its directory."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Manifest:
    """Where an adapter comes from; the last file written, so that a directory with it is complete."""

    version: int
    learned_from: list[str]  # feedback ids
    base_sha256: str  # empty: not known, of one that was made elsewhere
    recipe: dict[str, Any]
    figures: dict[str, Any]
    report: dict[str, Any]
    created_at: float
    files: dict[str, str] = field(default_factory=dict)
    """SHA-256 of each of the other files, filled in by ``publish``."""
    code: str = ""
    """The version of the code that made it, or took it in."""
    commit: str = ""
    """Its commit, where that can be known."""

    def text(self) -> str:
        """The file's content."""
        return json.dumps(asdict(self), indent=2, sort_keys=True)


def content_of(files: Mapping[str, str]) -> str:
    """One digest for all of them, by name and SHA-256."""
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()[:32]


def digests(directory: Path) -> dict[str, str]:
    """SHA-256 of each file but the manifest; empty for what is no file of its own: a link, a folder."""
    found: dict[str, str] = {}
    for path in directory.iterdir():
        if path.is_symlink() or not path.is_file():
            found[path.name] = ""
        elif path.name != MANIFEST:
            with path.open("rb") as file:
                found[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found
