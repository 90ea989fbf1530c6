"""What an adapter directory must look like before an engine sees it, and which base model it belongs to."""

import hashlib
import json
import math
import reprlib
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from adapters.recipe import LINEAR_LAYERS, Recipe
from store.errors import Invalid

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
MAX_CONFIG_BYTES = 64 * 1024
MAX_HEADER_BYTES = 1024 * 1024
MAX_SCALE = 64
"""The largest alpha, as a multiple of the rank, of an adapter that was made elsewhere."""
_LAYERS = (
    *LINEAR_LAYERS, "qkv_proj", "gate_up_proj", "query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h",
    "out_proj", "fc1", "fc2",
)  # fmt: skip
"""Linear layers of attention and of feed-forward networks by the names that architectures give them."""
MAX_GAIN = 10_000
"""How much larger than its largest input a LoRA's layer may ever make an output. Layers of models have tens to
hundreds, float16 ends at 65,504: what is no number spreads to whoever shares the engine's batch."""
_FLOATS = {"F32": 4, "F16": 2, "BF16": 2}
_DESCRIPTIVE = {"peft_version", "base_model_name_or_path", "inference_mode", "megatron_core", "qalora_group_size"}
"""Keys that say something about the adapter's origin, or about a feature that another key turns on."""


def validate(directory: Path, base: Path, recipe: Recipe) -> None:
    """Check the adapter in ``directory`` against the base model's directory and the recipe; raises ``Invalid``."""
    files = {path.name: path for path in directory.iterdir()} if directory.is_dir() else {}
    if set(files) != {CONFIG, WEIGHTS} or any(path.is_symlink() or not path.is_file() for path in files.values()):
        found = reprlib.repr(sorted(files)) if files else "nothing"
        raise Invalid(f"An adapter is the two files {CONFIG} and {WEIGHTS}; found {found}.")
    _check_config(files[CONFIG], recipe)
    _check_weights(files[WEIGHTS], lora_shapes(base, recipe), recipe.alpha / recipe.rank)


def fitted(recipe: Recipe, base: Path) -> Recipe:
    """The recipe with the layers that the base model has, where it says nothing else. Raises ``Invalid`` for none."""
    if recipe.target_modules != LINEAR_LAYERS:
        return recipe
    layers = {module.rpartition(".")[2] for module, _ in _matrices(base)}
    found = tuple(name for name in _LAYERS if name in layers)
    if not found:
        raise Invalid(f"No adapter can be made for {base.name}: it has no layers of a known name.")
    return replace(recipe, target_modules=found)


def adopted(directory: Path, base: Path, recipe: Recipe) -> Recipe:
    """Check an adapter that was made elsewhere; the recipe with its rank, alpha and layers. Raises ``Invalid``.

    It may have a lower rank than the server's, and fewer layers. How its weights began, and what was dropped out in
    training, is set to peft's default: only beginnings that left the base model as it was are taken, and neither
    matters any more.
    """
    config = _read_config(directory / CONFIG)
    began, dropped = config.get("init_lora_weights"), config.get("lora_dropout")
    changes: dict[str, Any] = {"init_lora_weights": True} if began in (False, "gaussian") else {}
    changes |= {"lora_dropout": 0.0} if type(dropped) is float and 0 < dropped < 1 else {}
    if changes:
        (directory / CONFIG).write_text(json.dumps({**config, **changes}, indent=2))
    rank, alpha, modules = config.get("r"), config.get("lora_alpha"), config["target_modules"]
    if type(rank) is not int or not 1 <= rank <= recipe.rank:
        raise Invalid(f"{CONFIG}: r has to be between 1 and {recipe.rank}, not {reprlib.repr(rank)}.")
    if type(alpha) is not int or not 1 <= alpha <= MAX_SCALE * rank:
        raise Invalid(f"{CONFIG}: lora_alpha has to be between 1 and {MAX_SCALE} times r, not {reprlib.repr(alpha)}.")
    if strange := sorted(set(modules) - set(recipe.target_modules)):
        raise Invalid(f"{CONFIG}: target_modules may not have {reprlib.repr(strange[0])}.")
    found = replace(recipe, rank=rank, alpha=alpha, target_modules=tuple(modules))
    validate(directory, base, found)
    return found


def weights_limit(base: Path, recipe: Recipe) -> int:
    """The largest file of weights, in bytes, that can be an adapter of this base model. Raises ``Invalid``."""
    return _weights_limit(lora_shapes(base, recipe))


def base_directory(model: str) -> Path:
    """The directory of a model given as a path, or as a hub name that was downloaded before; raises ``Invalid``."""
    if Path(model).is_dir():
        return Path(model)
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(model, local_files_only=True))
    except Exception as error:
        raise Invalid(
            f"Adapters cannot be trained for {model}: it is neither a directory nor a downloaded model."
        ) from error


def base_sha256(base: Path) -> str:
    """SHA-256 over the configuration and weights of a base model; cached until one of the files changes."""
    files = [base / "config.json", *_weights_of(base)]
    return _digest(tuple((str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in files if f.is_file()))


def lora_shapes(base: Path, recipe: Recipe) -> dict[str, tuple[int, int]]:
    """Tensor names and shapes of a LoRA on every targeted linear layer, ``A`` [rank, in] and ``B`` [out, rank].

    Raises ``Invalid`` for a base model without such layers.
    """
    shapes: dict[str, tuple[int, int]] = {}
    for module, (rows, columns) in _matrices(base):
        if module.rpartition(".")[2] in recipe.target_modules:
            shapes[f"base_model.model.{module}.lora_A.weight"] = (recipe.rank, columns)
            shapes[f"base_model.model.{module}.lora_B.weight"] = (rows, recipe.rank)
    if not shapes:
        raise Invalid(f"The base model has none of the layers {', '.join(recipe.target_modules)}.")
    return shapes


def _matrices(base: Path) -> Iterator[tuple[str, tuple[int, int]]]:
    """Modules of the base model whose weight is a matrix, and its shape, as the files name them.

    Without experts: transformers has those of a layer in one tensor, which is no linear layer.
    """
    from safetensors import safe_open

    for file in _weights_of(base):
        with safe_open(file, framework="numpy") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - not a dict
                module, _, kind = name.rpartition(".")
                if ".experts." in name:
                    continue
                if kind == "weight" and len(shape := tensors.get_slice(name).get_shape()) == 2:
                    yield module, (shape[0], shape[1])


@lru_cache(maxsize=8)
def _digest(files: tuple[tuple[str, int, int], ...]) -> str:
    total = hashlib.sha256()
    for name, size, _ in files:
        with open(name, "rb") as file:
            total.update(f"{Path(name).name}:{size}:{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return total.hexdigest()


def _weights_of(base: Path) -> list[Path]:
    files = sorted(base.glob("*.safetensors"))
    if not files:
        raise Invalid(f"The base model in {base.name} has no safetensors files.")
    return files


def _read_config(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise Invalid(f"An adapter is the two files {CONFIG} and {WEIGHTS}; the first is missing.")
    if path.stat().st_size > MAX_CONFIG_BYTES:
        raise Invalid(f"{CONFIG} is larger than {MAX_CONFIG_BYTES} bytes.")
    try:
        config = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise Invalid(f"{CONFIG} is not JSON.") from error
    if not isinstance(config, dict):
        raise Invalid(f"{CONFIG} is not a JSON object.")
    modules = config.get("target_modules")
    if not isinstance(modules, list) or not all(isinstance(m, str) for m in modules):
        raise Invalid(f"{CONFIG}: target_modules has to be a list of names.")
    return config


def _check_config(path: Path, recipe: Recipe) -> None:
    config = _read_config(path)
    modules = config["target_modules"]
    wanted: dict[str, Any] = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": recipe.rank,
        "lora_alpha": recipe.alpha,
        "bias": "none",
        "init_lora_weights": True,
        "target_modules": sorted(recipe.target_modules),
    }
    given = {**config, "target_modules": sorted(modules)}
    for key, value in wanted.items():
        found = given.get(key)
        if found != value or type(found) is not type(value):
            raise Invalid(f"{CONFIG}: {key} has to be {value!r}, not {reprlib.repr(found)}.")
    for key, value in config.items():
        if key in wanted or value in (None, False, 0, "", [], {}):
            continue
        if key not in _DESCRIPTIVE or not isinstance(value, str | int | bool):
            raise Invalid(f"{CONFIG}: {reprlib.repr(key)} has to be unset, not {reprlib.repr(value)}.")


def _weights_limit(shapes: dict[str, tuple[int, int]]) -> int:
    return MAX_HEADER_BYTES + max(_FLOATS.values()) * sum(math.prod(shape) for shape in shapes.values())


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of which no key stands twice: readers of JSON differ in which of them counts."""
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a key stands twice")
    return dict(pairs)


def _check_weights(path: Path, expected: dict[str, tuple[int, int]], scale: float) -> None:
    import torch
    from safetensors import SafetensorError, safe_open

    limit = _weights_limit(expected)
    if path.stat().st_size > limit:
        raise Invalid(f"{WEIGHTS} has {path.stat().st_size} bytes, more than the {limit} that this base model allows.")
    with path.open("rb") as file:  # its library reads all of the header before it looks at it
        if int.from_bytes(file.read(8), "little") > MAX_HEADER_BYTES:
            raise Invalid(f"{WEIGHTS} has a header of more than {MAX_HEADER_BYTES} bytes.")
    gains: dict[str, float] = {}
    try:
        with safe_open(path, framework="pt") as tensors:
            names = set(tensors.keys())
            if names != set(expected):
                strange = sorted(names.symmetric_difference(expected))
                raise Invalid(f"{WEIGHTS} has missing or unknown tensors: {', '.join(n[:100] for n in strange[:3])}.")
            for name in sorted(names):
                part = tensors.get_slice(name)
                if tuple(part.get_shape()) != expected[name]:
                    raise Invalid(f"{WEIGHTS}: {name} has shape {part.get_shape()}, not {list(expected[name])}.")
                if part.get_dtype() not in _FLOATS:
                    raise Invalid(f"{WEIGHTS}: {name} holds {part.get_dtype()}, not floating-point numbers.")
                weights = tensors.get_tensor(name)
                if not bool(torch.isfinite(weights).all()):
                    raise Invalid(f"{WEIGHTS}: {name} holds numbers that are not finite.")
                gains[name] = float(weights.double().abs().sum(dim=1).max()) * (scale if ".lora_B." in name else 1)
    except SafetensorError as error:
        raise Invalid(f"{WEIGHTS} is not a safetensors file: {str(error)[:200]}.") from error
    for name, gain in gains.items():
        other = gains[name.replace(".lora_A.", ".lora_B.")] if ".lora_A." in name else 1
        if max(gain, gain * other) > MAX_GAIN:
            raise Invalid(f"{WEIGHTS}: {name} has weights so large, once scaled, that answers would overflow.")
