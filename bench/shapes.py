"""Models of the shape that real ones have, with random weights: for speed and memory, whatever they say."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.servers import BUNDLED

_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json")


@dataclass(frozen=True)
class Shape:
    """What a transformers configuration of ``kind`` is made of; its source is in ``SHAPES``."""

    kind: str
    sizes: dict[str, Any]

    def write(self, directory: Path, dtype: str) -> Path:
        """Write such a model in ``dtype``, with the bundled model's tokenizer, of which it has rows to spare."""
        import torch
        from transformers import AutoConfig, AutoModelForCausalLM

        directory.mkdir(parents=True)
        ends = json.loads((BUNDLED / "config.json").read_text())
        config = AutoConfig.for_model(
            self.kind, **self.sizes, bos_token_id=None, eos_token_id=ends["eos_token_id"], dtype=dtype
        )
        torch.manual_seed(0)
        with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
            model: Any = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype))
        model.save_pretrained(directory)
        del model
        torch.cuda.empty_cache()  # what is measured next may have it
        for name in _TOKENIZER:
            shutil.copy(BUNDLED / name, directory)
        return directory


SHAPES = {
    # Qwen2.5 Technical Report, arXiv 2412.15115, table 1, and the released config.json: 494 million parameters.
    "0.5b": Shape("qwen2", {
        "vocab_size": 151936, "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24,
        "num_attention_heads": 14, "num_key_value_heads": 2, "max_position_embeddings": 32768,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1_000_000.0}, "rms_norm_eps": 1e-6,
        "tie_word_embeddings": True,
    }),
}  # fmt: skip
"""By name."""
