"""What a run's figures depend on: the machine, the engine, the commit, the command."""

import os
import platform
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

from lab.provenance import commit, vllm_version


def about(*, command: str, model: str) -> dict[str, Any]:
    """Machine, engine, commit, command, model and date, for the report."""
    return {
        "machine": {
            "processor": _processor(),
            "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "accelerators": _accelerators(),
            "python": platform.python_version(),
            "vllm": vllm_version(),
        },
        "commit": commit("server", "adapters", "preference", "lab"),
        "command": command,
        "model": model,
        "date": time.strftime("%Y-%m-%d"),
    }


def _processor() -> str:
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text().splitlines() if listed.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _accelerators() -> list[str]:
    if shutil.which("nvidia-smi") is None:
        return []
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip().splitlines()
