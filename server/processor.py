"""What this machine's processor computes fast, and how much memory it has: what an engine on a CPU is started by."""

import os
from pathlib import Path

CPU_INFO = Path("/proc/cpuinfo")
_BFLOAT16 = frozenset(("avx512_bf16", "amx_bf16", "bf16"))
"""Flags of x86 and ARM processors that multiply bfloat16. Others convert each number first: on an EPYC with AVX2, a
layer of 1,536 by 8,960 and 256 tokens took 775 ms in bfloat16 and 128 ms in float32."""


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def multiplies_bfloat16(cpu_info: Path = CPU_INFO) -> bool:
    """Whether the processor multiplies bfloat16 itself; True where nobody can tell."""
    try:
        lines = cpu_info.read_text().splitlines()
    except OSError:
        return True
    told = [line.partition(":")[2].split() for line in lines if line.lower().startswith(("flags", "features"))]
    return not told or not _BFLOAT16.isdisjoint(told[0])


def holds_in_float32(folder: Path | None) -> bool:
    """Whether the weights of ``folder``, kept in 16 bits there, take at most half of the memory in 32."""
    if folder is None:
        return False
    stored = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    return 2 * stored <= memory() / 2


def memory() -> int:
    """Bytes of memory that this machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
