"""Where figures and weights come from: the version and the commit of this code."""

import subprocess
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def code_version() -> str:
    """The package's version; ``unknown`` where it is not installed."""
    try:
        return version("attune")
    except PackageNotFoundError:
        return "unknown"


@lru_cache(maxsize=1)
def code_commit() -> str:
    """The commit that this process runs, as git tells at the first call: files may change under it later."""
    return commit(".")


def commit(*paths: str) -> str:
    """The newest commit, or the newest that changed one of ``paths``; ``unknown`` outside a checkout.

    It ends in ``-changed`` where files of these paths differ from it.
    """
    try:
        found = _git("log", "-1", "--format=%H", "--", *paths)
        return f"{found}-changed" if paths and _git("status", "--porcelain", "--", *paths) else found
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(ROOT), *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()
