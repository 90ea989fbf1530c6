"""The trained LoRA as it is shipped: safetensors in bfloat16, its configuration, and a manifest with hashes."""

import json
import shutil
from pathlib import Path
from typing import Any

from adapters.recipe import LINEAR_LAYERS
from lab.assistant.lora import Weights
from server.models.catalog import WEIGHTS
from server.models.fetch import sha256

LIMIT = 16 << 20
MANIFEST = "manifest.json"
LEARNER = Path(__file__).parent / "learner.toml"


def ship(trained: Weights, rank: int, alpha: int, base: Path, folder: Path, training: dict[str, Any]) -> None:
    """Write a LoRA to ``folder``, for the model in ``base``, which its manifest names if it was fetched.

    The learner's prompt file, in whose layout it was taught, comes with it.
    """
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: value.detach().to(torch.bfloat16).contiguous() for name, value in trained.items()}
    file = folder / WEIGHTS
    save_file(weights, file, metadata={"format": "pt"})
    if file.stat().st_size > LIMIT:
        raise ValueError(f"{file} has {file.stat().st_size} bytes, more than {LIMIT}: take a lower rank")
    told = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": rank, "lora_alpha": alpha, "lora_dropout": 0.0,
        "bias": "none", "target_modules": sorted(LINEAR_LAYERS),
    }  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(told, indent=2) + "\n")
    shutil.copy(LEARNER, folder / LEARNER.name)
    held = json.loads((base / MANIFEST).read_text()) if (base / MANIFEST).exists() else {}
    manifest = {
        "base": held.get("name", base.name),
        "upstream": held.get("upstream"),
        "base_gguf_sha256": held.get("gguf_sha256"),
        "licence": "Apache-2.0",
        "files": {name: sha256(folder / name) for name in (WEIGHTS, "adapter_config.json", LEARNER.name)},
        "training": {name: training[name] for name in ("seed", "steps", "tokens", "seconds", "loss", "sources")},
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
