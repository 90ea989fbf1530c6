"""The trained LoRA as it is shipped: safetensors in bfloat16, its configuration, and a manifest with hashes."""

import json
import shutil
from pathlib import Path
from typing import Any

from server.models.catalog import WEIGHTS
from server.models.fetch import sha256

LIMIT = 16 << 20
MANIFEST = "manifest.json"
LEARNER = Path(__file__).parent / "learner.toml"


def ship(peft: Any, base: Path, folder: Path, training: dict[str, Any]) -> None:
    """Write ``peft``'s LoRA to ``folder``, for the model in ``base``, which its manifest names if it was fetched.

    The learner's prompt file, in whose layout it was taught, comes with it.
    """
    import torch
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: value.to(torch.bfloat16).contiguous() for name, value in get_peft_model_state_dict(peft).items()}
    file = folder / WEIGHTS
    save_file(weights, file, metadata={"format": "pt"})
    if file.stat().st_size > LIMIT:
        raise ValueError(f"{file} has {file.stat().st_size} bytes, more than {LIMIT}: take a lower rank")
    config = peft.peft_config["default"].to_dict()
    kept = ("peft_type", "task_type", "r", "lora_alpha", "lora_dropout", "bias", "target_modules")
    told = {name: sorted(config[name]) if name == "target_modules" else config[name] for name in kept}
    (folder / "adapter_config.json").write_text(json.dumps(told, indent=2, default=str) + "\n")
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
