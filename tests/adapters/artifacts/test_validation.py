import json
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from adapters.artifacts.validation import (
    MAX_HEADER_BYTES,
    adopted,
    base_directory,
    base_sha256,
    fitted,
    lora_shapes,
    validate,
)
from adapters.recipe import LINEAR_LAYERS, Recipe
from store.errors import Invalid
from tests.adapters.fakes import Trained

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def config_with(**changes: Any) -> Callable[[Path, random.Random], None]:
    def mutate(adapter: Path, rng: random.Random) -> None:
        config = json.loads((adapter / CONFIG).read_text())
        (adapter / CONFIG).write_text(json.dumps({**config, **changes}))

    return mutate


def config_without(key: str) -> Callable[[Path, random.Random], None]:
    def mutate(adapter: Path, rng: random.Random) -> None:
        config = json.loads((adapter / CONFIG).read_text())
        del config[key]
        (adapter / CONFIG).write_text(json.dumps(config))

    return mutate


def weights(change: Callable[[dict[str, torch.Tensor], str], None]) -> Callable[[Path, random.Random], None]:
    """A mutation of one tensor, chosen by chance."""

    def mutate(adapter: Path, rng: random.Random) -> None:
        tensors = load_file(adapter / WEIGHTS)
        change(tensors, rng.choice(sorted(tensors)))
        save_file(tensors, adapter / WEIGHTS)

    return mutate


def raw(name: str, content: bytes) -> Callable[[Path, random.Random], None]:
    def mutate(adapter: Path, rng: random.Random) -> None:
        (adapter / name).write_bytes(content)

    return mutate


def cut(adapter: Path, rng: random.Random) -> None:
    content = (adapter / WEIGHTS).read_bytes()
    (adapter / WEIGHTS).write_bytes(content[: rng.randrange(len(content))])


def header(adapter: Path, rng: random.Random) -> None:
    content = bytearray((adapter / WEIGHTS).read_bytes())
    content[rng.randrange(8)] ^= 1 << rng.randrange(8)
    (adapter / WEIGHTS).write_bytes(bytes(content))


def link(adapter: Path, rng: random.Random) -> None:
    shutil.move(adapter / WEIGHTS, adapter.parent / "elsewhere")
    (adapter / WEIGHTS).symlink_to(adapter.parent / "elsewhere")


def _set(value: float) -> Callable[[dict[str, torch.Tensor], str], None]:
    def change(tensors: dict[str, torch.Tensor], name: str) -> None:
        tensors[name].view(-1)[-1] = value

    return change


def _to(make: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[dict[str, torch.Tensor], str], None]:
    def change(tensors: dict[str, torch.Tensor], name: str) -> None:
        tensors[name] = make(tensors[name]).contiguous()

    return change


def _rename(tensors: dict[str, torch.Tensor], name: str) -> None:
    tensors[name.replace("self_attn", "attn").replace("mlp", "ffn")] = tensors.pop(name)


def _drop(tensors: dict[str, torch.Tensor], name: str) -> None:
    del tensors[name]


def _add(tensors: dict[str, torch.Tensor], name: str) -> None:
    tensors["base_model.model.lm_head.lora_A.weight"] = torch.zeros(8, 32)


MUTATIONS: dict[str, Callable[[Path, random.Random], None]] = {
    **{
        f"{key}={value!r}"[:60]: config_with(**{key: value})
        for key, value in [
            ("peft_type", "IA3"),
            ("peft_type", None),
            ("task_type", "SEQ_CLS"),
            ("r", 16),
            ("r", 8.0),
            ("r", True),
            ("r", "8"),
            ("lora_alpha", 1e9),
            ("bias", "all"),
            ("modules_to_save", ["lm_head"]),
            ("target_modules", "all-linear"),
            ("target_modules", ["q_proj"]),
            ("target_modules", ["q_proj", 3]),
            ("target_modules", None),
            ("use_dora", True),
            ("use_rslora", True),
            ("lora_bias", True),
            ("lora_dropout", 0.5),
            ("init_lora_weights", "pissa"),
            ("init_lora_weights", False),
            ("rank_pattern", {"q_proj": 64}),
            ("alpha_pattern", {"q_proj": 64}),
            ("layer_replication", [[0, 2]]),
            ("layers_to_transform", [0]),
            ("exclude_modules", ["q_proj"]),
            ("trainable_token_indices", [1]),
            ("target_parameters", ["weight"]),
            ("megatron_config", {"a": 1}),
            ("loftq_config", {"a": 1}),
            ("auto_mapping", {"parent_library": "os"}),
            ("trust_remote_code", True),
            ("auto_map", {"AutoModel": "evil.Model"}),
            ("vllm_lora_scaling_factor", 100.0),
            ("an_unknown_key", "x"),
            ("revision", "main"),
            ("base_model_name_or_path", ["a", "list"]),
            ("fan_in_fan_out", True),
        ]
    },
    **{f"no {key}": config_without(key) for key in ("peft_type", "r", "lora_alpha", "bias", "target_modules")},
    "config: not JSON": raw(CONFIG, b"{"),
    "config: a list": raw(CONFIG, b"[]"),
    "config: not UTF-8": raw(CONFIG, b"\xff\xfe"),
    "config: huge": raw(CONFIG, b" " * 100_000),
    "config: deep": raw(CONFIG, b"[" * 60_000),
    "weights: empty": raw(WEIGHTS, b""),
    "weights: a pickle": raw(WEIGHTS, b"\x80\x04" + b"x" * 100),
    "weights: huge": raw(WEIGHTS, b"\0" * 3_000_000),
    "one more file": raw("training_args.bin", b"\x80\x04"),
    "a script": raw("modeling.py", b"import os"),
    "a folder": lambda adapter, rng: (adapter / "more").mkdir(),
    "no config": lambda adapter, rng: (adapter / CONFIG).unlink(),
    "no weights": lambda adapter, rng: (adapter / WEIGHTS).unlink(),
    "not there": lambda adapter, rng: shutil.rmtree(adapter),
    "a link": link,
    **{
        f"{name} {i}": mutation
        for i in range(5)
        for name, mutation in {
            "cut": cut,
            "header": header,
            "nan": weights(_set(float("nan"))),
            "infinity": weights(_set(float("-inf"))),
            "transposed": weights(_to(lambda t: t.T)),
            "flat": weights(_to(lambda t: t.reshape(-1))),
            "wider": weights(_to(lambda t: torch.cat([t, t], 1))),
            "integers": weights(_to(lambda t: t.to(torch.int32))),
            "doubles": weights(_to(lambda t: t.to(torch.float64))),
            "renamed": weights(_rename),
            "dropped": weights(_drop),
            "added": weights(_add),
        }.items()
    },
}


@pytest.fixture
def adapter(trained: Trained, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained.adapter, tmp_path / "adapter"))


def test_there_are_a_hundred_mutations() -> None:
    assert len(MUTATIONS) >= 100


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mutated_adapter_is_rejected(name: str, adapter: Path, trained: Trained) -> None:
    validate(adapter, trained.base, trained.recipe)
    MUTATIONS[name](adapter, random.Random(name))
    with pytest.raises(Invalid) as raised:
        validate(adapter, trained.base, trained.recipe)
    assert raised.value.message.endswith(".")


@pytest.mark.parametrize(("a", "b"), [(0.01, 1e37), (1e37, 0.01), (0.01, 2_000), (20.0, 20.0)])
def test_weights_that_overflow_once_scaled_are_rejected(a: float, b: float, adapter: Path, trained: Trained) -> None:
    tensors = load_file(adapter / WEIGHTS)
    for name, tensor in tensors.items():
        if "layers.1.mlp.down_proj" in name:
            tensor.fill_(a if ".lora_A." in name else b)
    save_file(tensors, adapter / WEIGHTS)
    with pytest.raises(Invalid, match="overflow"):
        validate(adapter, trained.base, trained.recipe)
    config = json.loads((adapter / CONFIG).read_text())
    (adapter / CONFIG).write_text(json.dumps({**config, "lora_alpha": 64 * config["r"]}))
    with pytest.raises(Invalid, match="overflow"):
        adopted(adapter, trained.base, trained.recipe)


def test_a_header_is_measured_before_it_is_read(adapter: Path, trained: Trained) -> None:
    huge = (MAX_HEADER_BYTES + 1).to_bytes(8, "little") + b"{" + b" " * MAX_HEADER_BYTES
    (adapter / WEIGHTS).write_bytes(huge)
    with pytest.raises(Invalid, match="header of more than"):
        validate(adapter, trained.base, trained.recipe)


def test_half_precision_weights_are_fine(adapter: Path, trained: Trained) -> None:
    halved = {name: tensor.to(torch.bfloat16) for name, tensor in load_file(adapter / WEIGHTS).items()}
    save_file(halved, adapter / WEIGHTS)
    validate(adapter, trained.base, trained.recipe)


def test_another_recipe_does_not_fit(adapter: Path, trained: Trained) -> None:
    for recipe in (replace(trained.recipe, rank=4), replace(trained.recipe, target_modules=("q_proj", "v_proj"))):
        with pytest.raises(Invalid):
            validate(adapter, trained.base, recipe)


def test_the_hash_follows_the_weights_and_the_configuration(tiny_base: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(tiny_base, tmp_path / "copy"))
    assert base_sha256(copy) == base_sha256(tiny_base)
    (copy / "tokenizer_config.json").write_text("{}")
    assert base_sha256(copy) == base_sha256(tiny_base)
    content = bytearray((copy / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (copy / "model.safetensors").write_bytes(bytes(content))
    changed = base_sha256(copy)
    assert changed != base_sha256(tiny_base)
    (copy / "config.json").write_text("{}")
    assert base_sha256(copy) not in (changed, base_sha256(tiny_base))


def test_a_base_that_cannot_be_found_is_named(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="nobody/nothing"):
        base_directory("nobody/nothing")
    assert base_directory(str(tmp_path)) == tmp_path
    with pytest.raises(Invalid, match="no safetensors"):
        base_sha256(tmp_path)


ARCHITECTURES = {
    "Phi3Config": {"qkv_proj", "o_proj", "gate_up_proj", "down_proj"},
    "GPTNeoXConfig": {"query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"},
    "OPTConfig": {"q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"},
    "Qwen2Config": set(LINEAR_LAYERS),
    "Qwen3MoeConfig": {"q_proj", "k_proj", "v_proj", "o_proj"},
}
SIZES = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "ffn_dim": 64, "word_embed_proj_dim": 32,
    "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 32,
    "pad_token_id": 0, "num_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 16,
}  # fmt: skip


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_gets_adapters_on_its_own_layers(name: str, tmp_path: Path) -> None:
    import transformers
    from peft import LoraConfig, get_peft_model, get_peft_model_state_dict

    model: Any = transformers.AutoModelForCausalLM.from_config(getattr(transformers, name)(**SIZES))
    model.save_pretrained(tmp_path)
    recipe = fitted(Recipe(rank=4), tmp_path)
    assert set(recipe.target_modules) == ARCHITECTURES[name]
    config = LoraConfig(r=recipe.rank, target_modules=list(recipe.target_modules), task_type="CAUSAL_LM")
    made = get_peft_model_state_dict(get_peft_model(model, config))
    assert {name: tuple(tensor.shape) for name, tensor in made.items()} == lora_shapes(tmp_path, recipe)


def test_a_recipe_that_names_layers_keeps_them(tiny_base: Path, tmp_path: Path) -> None:
    chosen = Recipe(target_modules=("q_proj",))
    assert fitted(chosen, tiny_base) == chosen
    save_file({"encoder.weight": torch.zeros(2, 2)}, tmp_path / "model.safetensors")
    with pytest.raises(Invalid, match="no layers of a known name"):
        fitted(Recipe(), tmp_path)
