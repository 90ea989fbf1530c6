"""From a GGUF file to a folder that vLLM and the trainers take, a program of its own, whose memory ends with it.

    python -m server.models.convert FILE FOLDER [--tied] [--adapter FOLDER]

Writes safetensors in bfloat16, the configuration, the tokenizer with its chat template, and the generation's.
"""

import argparse
import os
import shutil
from pathlib import Path
from typing import Any

SHARD = "1GB"
LEARNER = "learner.toml"


def convert(file: Path, folder: Path, *, tied: bool = False, adapter: Path | None = None) -> None:
    """Convert ``file`` into ``folder``. With ``tied``, the last layer's matrix, the finer one, is the first's too.

    The LoRA in ``adapter`` is merged in 32 bits, and the learner's prompt file comes with it.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    tokenizer = AutoTokenizer.from_pretrained(str(file.parent), gguf_file=file.name)
    mend(tokenizer, file)
    model: Any = AutoModelForCausalLM.from_pretrained(
        str(file.parent),
        gguf_file=file.name,
        dtype=torch.bfloat16 if adapter is None else torch.float32,
        quantization_config=GgufConfig(dequantize=True),
    )
    if tied:
        model.config.tie_word_embeddings = True
        model.get_input_embeddings().weight = model.get_output_embeddings().weight
        model.tie_weights()
    if adapter is not None:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, str(adapter)).merge_and_unload().to(torch.bfloat16)
        model.config.dtype = torch.bfloat16
        shutil.copy(adapter / LEARNER, folder / LEARNER)
    tokenizer.model_max_length = model.config.max_position_embeddings
    model.save_pretrained(folder, max_shard_size=SHARD)
    tokenizer.save_pretrained(folder)


def mend(tokenizer: Any, file: Path) -> None:
    """Cut text into digits first where the file's tokenizer does: GGUF says so by a name that transformers leaves out.

    Without it SmolLM2 would see other tokens where several blanks precede a digit.
    """
    from gguf import GGUFReader
    from tokenizers import pre_tokenizers

    field = GGUFReader(file).get_field("tokenizer.ggml.pre")
    if field is not None and field.contents() == "smollm":
        backend = tokenizer.backend_tokenizer
        digits: Any = pre_tokenizers.Digits(individual_digits=True)
        backend.pre_tokenizer = pre_tokenizers.Sequence([digits, backend.pre_tokenizer])


def main() -> None:
    """Command line entry."""
    parser = argparse.ArgumentParser(prog="python -m server.models.convert", description="Convert a GGUF file.")
    parser.add_argument("file", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tied", action="store_true", help="the first and the last layer have one matrix")
    parser.add_argument("--adapter", type=Path, help="the folder of a LoRA to merge")
    given = parser.parse_args()
    # Read when these libraries are imported: no network, and no bars of theirs.
    os.environ |= {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    convert(given.file.resolve(), given.folder, tied=given.tied, adapter=given.adapter)


if __name__ == "__main__":
    main()
