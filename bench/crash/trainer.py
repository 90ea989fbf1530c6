"""A trainer that takes a moment: ``python -I -S trainer.py DIR`` writes a small valid adapter, without any library.

Same files as ``adapters.training.trainer``. It is run by its path, so it imports nothing but the standard library.
"""

import json
import math
import os
import random
import struct
import sys
import time
from pathlib import Path

MAX_SECONDS = 0.15


def write_tensors(path: Path, shapes: dict[str, tuple[int, int]]) -> None:
    """A safetensors file of float32 zeros."""
    header: dict[str, object] = {}
    end = 0
    for name, shape in sorted(shapes.items()):
        begin, end = end, end + 4 * math.prod(shape)
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [begin, end]}
    told = json.dumps(header).encode()
    told += b" " * (-len(told) % 8)
    path.write_bytes(struct.pack("<Q", len(told)) + told + bytes(end))


def read_shapes(path: Path) -> dict[str, tuple[int, int]]:
    """Name to shape of the matrices in a safetensors file. Raises ``ValueError`` for a file that was cut short."""
    with path.open("rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(size))
    end = max(part["data_offsets"][1] for part in header.values())
    if path.stat().st_size != 8 + size + end:
        raise ValueError(f"{path.name} has {path.stat().st_size} bytes, not {8 + size + end}")
    return {name: tuple(part["shape"]) for name, part in header.items()}


def main() -> None:
    """Command line entry."""
    parent = os.getppid()
    directory = Path(sys.argv[1])
    job = json.loads((directory / "job.json").read_text())
    rows = (directory / "train.jsonl").read_text().splitlines()
    time.sleep(random.uniform(0, MAX_SECONDS))
    if os.getppid() != parent:
        sys.exit("the process that started this training is gone")
    rank = job["recipe"]["rank"]
    shapes: dict[str, tuple[int, int]] = {}
    for name, (out, into) in read_shapes(Path(job["model"]) / "model.safetensors").items():
        module = f"base_model.model.{name.removesuffix('.weight')}"
        shapes |= {f"{module}.lora_A.weight": (rank, into), f"{module}.lora_B.weight": (out, rank)}
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": rank,
        "lora_alpha": job["recipe"]["alpha"],
        "bias": "none",
        "init_lora_weights": True,
        "target_modules": job["recipe"]["target_modules"],
        "base_model_name_or_path": job["model"],
    }
    adapter = directory / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    write_tensors(adapter / "adapter_model.safetensors", shapes)
    (directory / "figures.json").write_text(json.dumps({"rows": len(rows), "recipe": "sft"}))


if __name__ == "__main__":
    main()
