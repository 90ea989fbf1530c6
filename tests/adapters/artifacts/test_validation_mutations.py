"""A valid adapter and more than a thousand others, different in one or a few places: nothing passes that should not."""

import hashlib
import json
import os
import random
import shutil
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from adapters.artifacts.directories import Directories
from adapters.artifacts.manifest import Manifest
from adapters.artifacts.validation import CONFIG, WEIGHTS, validate
from store.errors import Invalid
from tests.adapters.fakes import Trained

CASES = 1300
SECONDS = 60
"""A hang, not slowness: all of them take a few seconds."""

Mutation = Callable[[random.Random, "Adapter"], None]


class Adapter:
    """The files of an adapter in memory; what is not None is written."""

    def __init__(self, config: bytes, weights: bytes) -> None:
        self.files: dict[str, bytes] = {CONFIG: config, WEIGHTS: weights}
        self.links: dict[str, str] = {}

    @property
    def config(self) -> dict[str, Any]:
        return dict(json.loads(self.files[CONFIG]))

    @config.setter
    def config(self, config: Any) -> None:
        self.files[CONFIG] = json.dumps(config).encode()

    @property
    def header(self) -> tuple[dict[str, Any], bytes]:
        """The safetensors header, and the data behind it."""
        content = self.files[WEIGHTS]
        (size,) = struct.unpack("<Q", content[:8])
        return json.loads(content[8 : 8 + size]), content[8 + size :]

    def set_header(self, header: Any, data: bytes) -> None:
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        self.files[WEIGHTS] = struct.pack("<Q", len(text)) + text + data

    def write(self, directory: Path) -> None:
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
        for name, content in self.files.items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        for name, target in self.links.items():
            (directory / name).symlink_to(target)


STRANGE: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    1,
    7,
    9,
    64,
    2**31,
    2**70,
    8.0,
    1e308,
    "",
    "8",
    "LORA",
    "../../etc/passwd",
    "http://x/y",
    "all",
    "all-linear",
    [],
    ["q_proj"],
    ["lm_head"],
    ["q_proj", "../x"],
    [None],
    {},
    {"q_proj": 64},
    {"parent_library": "os"},
    [[0, 2]],
    ["q_proj"] * 1000,
    {"a": {"b": {"c": 1}}},
    "x" * 1000,
    ".*",
    "eval(x)",
]
KEYS = """
    peft_type task_type r lora_alpha bias init_lora_weights target_modules auto_mapping modules_to_save
    base_model_name_or_path revision use_dora use_rslora rank_pattern alpha_pattern lora_bias
    fan_in_fan_out layers_to_transform layers_pattern layer_replication lora_dropout exclude_modules
    eva_config corda_config loftq_config megatron_config megatron_core trainable_token_indices
    target_parameters use_qalora runtime_config qalora_group_size inference_mode peft_version
    arrow_config ensure_weight_tying trust_remote_code auto_map quantization_config tokenizer __class__
    architectures torch_dtype lora_extra_vocab_size vllm_lora_config
""".split()
HARMLESS = {"base_model_name_or_path", "peft_version", "inference_mode", "megatron_core", "qalora_group_size"}


def config_value(rng: random.Random, adapter: Adapter) -> None:
    adapter.config = {**adapter.config, rng.choice(KEYS): rng.choice(STRANGE)}


def config_without(rng: random.Random, adapter: Adapter) -> None:
    config = adapter.config
    for key in rng.sample(sorted(config), rng.randint(1, 3)):
        del config[key]
    adapter.config = config


def config_bytes(rng: random.Random, adapter: Adapter) -> None:
    content = bytearray(adapter.files[CONFIG])
    for _ in range(rng.randint(1, 4)):
        content[rng.randrange(len(content))] = rng.randrange(256)
    adapter.files[CONFIG] = bytes(content)


def config_twice(rng: random.Random, adapter: Adapter) -> None:
    """A key twice: readers of JSON differ in which one counts."""
    key, value = rng.choice(
        [("r", 64), ("peft_type", "IA3"), ("target_modules", ["lm_head"]), ("auto_mapping", {"a": "b"})]
    )
    text = adapter.files[CONFIG].decode().rstrip()[:-1]
    adapter.files[CONFIG] = f"{{{json.dumps(key)}: {json.dumps(value)}, {text.lstrip()[1:]}}}".encode()


def config_whole(rng: random.Random, adapter: Adapter) -> None:
    adapter.files[CONFIG] = rng.choice(
        [
            b"",
            b"{}",
            b"[]",
            b"null",
            b"1",
            b'"x"',
            b"\xff\xfe{}",
            b"[" * 60_000,
            b'{"a":' * 10_000,
            b" " * 70_000,
            b"\x80\x04N.",
            b"\xef\xbb\xbf" + adapter.files[CONFIG],
            adapter.files[CONFIG] * 2,
            adapter.files[CONFIG][: rng.randrange(300)],
            adapter.files[CONFIG].decode().encode("utf-16"),
            b'{"r": NaN}',
            b"PK\x03\x04",
        ]
    )


def cut(rng: random.Random, adapter: Adapter) -> None:
    adapter.files[WEIGHTS] = adapter.files[WEIGHTS][: rng.randrange(len(adapter.files[WEIGHTS]))]


def more(rng: random.Random, adapter: Adapter) -> None:
    adapter.files[WEIGHTS] += rng.randbytes(rng.randint(1, 300))


def head_bytes(rng: random.Random, adapter: Adapter) -> None:
    """Bits of the length or of the header's text."""
    content = bytearray(adapter.files[WEIGHTS])
    end = 8 + struct.unpack("<Q", content[:8])[0]
    for _ in range(rng.randint(1, 3)):
        content[rng.randrange(rng.choice([8, end]))] ^= 1 << rng.randrange(8)
    adapter.files[WEIGHTS] = bytes(content)


def length(rng: random.Random, adapter: Adapter) -> None:
    claimed = rng.choice([0, 1, 2**20, 2**31, 2**32, 2**63, 2**64 - 1, rng.randrange(10_000)])
    adapter.files[WEIGHTS] = struct.pack("<Q", claimed) + adapter.files[WEIGHTS][8:]


def tensor(rng: random.Random, adapter: Adapter) -> None:
    """One tensor's entry: type, shape, place."""
    header, data = adapter.header
    name = rng.choice([n for n in header if n != "__metadata__"])
    entry = header[name]
    match rng.randrange(7):
        case 0:
            entry["dtype"] = rng.choice(["F64", "I8", "U8", "BOOL", "I64", "F8_E4M3", "C64", "F4", "", "X", None, 32])
        case 1:
            entry["shape"] = rng.choice(
                [
                    entry["shape"][::-1],
                    [],
                    [0],
                    [-1, 8],
                    [2**40, 2**40],
                    [*entry["shape"], 1],
                    [2**63, 2],
                    "x",
                    [1.5, 2],
                ]
            )
            if entry["shape"] == json.loads(json.dumps(adapter.header[0][name]["shape"])):
                entry["shape"] = []
        case 2:
            start, end = entry["data_offsets"]
            entry["data_offsets"] = rng.choice(
                [
                    [end, start],
                    [start, end + 4],
                    [start + 4, end],
                    [0, 2**63],
                    [-4, end],
                    [start, start],
                    [start],
                    "x",
                    None,
                ]
            )
        case 3:
            header[rng.choice(["../../x", "a" * 10_000, "", name + "\x00", name.upper(), "base_model.lm_head"])] = (
                header.pop(name)
            )
        case 4:
            del header[name]
        case 5:
            other = rng.choice([n for n in header if n not in (name, "__metadata__")])
            header[name] = dict(header[other])  # the same bytes twice
        case _:
            entry["pickle"] = "cos\nsystem\n"
            entry["dtype"] = "F16"
    adapter.set_header(header, data)


def extra_tensor(rng: random.Random, adapter: Adapter) -> None:
    header, data = adapter.header
    name = rng.choice(
        ["base_model.model.lm_head.lora_A.weight", "x", "base_model.model.model.embed_tokens.lora_embedding_A"]
    )
    header[name] = {"dtype": "F32", "shape": [2, 2], "data_offsets": [len(data), len(data) + 16]}
    adapter.set_header(header, data + bytes(16))


def duplicate(rng: random.Random, adapter: Adapter) -> None:
    """A tensor named twice in the header: readers may differ in which one counts."""
    header, data = adapter.header
    names = [n for n in header if n != "__metadata__"]
    name, other = rng.sample(names, 2)
    text = json.dumps(header)
    adapter.set_header((text[:-1] + f", {json.dumps(name)}: {json.dumps(header[other])}}}").encode(), data)


def header_text(rng: random.Random, adapter: Adapter) -> None:
    header, data = adapter.header
    text = json.dumps(header).encode()
    adapter.set_header(
        rng.choice(
            [
                b"",
                b"{}",
                b"[]",
                b"null",
                b"{" * 5000,
                b"[" * 100_000,
                b"\xff" * 50,
                b" " * (2 << 20),
                text[:-1],
                text + b"}",
            ]
        ),
        data,
    )


def not_finite(rng: random.Random, adapter: Adapter) -> None:
    header, data = adapter.header
    changed = bytearray(data)
    value = rng.choice([b"\x00\x00\xc0\x7f", b"\x00\x00\x80\x7f", b"\x00\x00\x80\xff", b"\x01\x00\x80\x7f"])
    place = rng.randrange(len(data) // 4) * 4
    changed[place : place + 4] = value
    adapter.set_header(header, bytes(changed))


def other_format(rng: random.Random, adapter: Adapter) -> None:
    adapter.files[WEIGHTS] = rng.choice(
        [
            b"",
            b"\x80\x04\x95" + rng.randbytes(100),
            b"PK\x03\x04" + rng.randbytes(100),
            b"\x7fELF",
            rng.randbytes(2000),
            b"GGUF" * 50,
        ]
    )


def more_files(rng: random.Random, adapter: Adapter) -> None:
    name = rng.choice(
        [
            "adapter_model.bin",
            "adapter_model.pt",
            "pytorch_model.bin",
            "modeling.py",
            "__init__.py",
            ".hidden",
            "README.md",
            "tokenizer.json",
            "new_embeddings.safetensors",
            "manifest.json",
            "sub/adapter_model.bin",
            "adapter_config.json.bak",
        ]
    )
    adapter.files[name] = rng.choice([b"", b"\x80\x04N.", b"import os", b"{}"])


def fewer_files(rng: random.Random, adapter: Adapter) -> None:
    del adapter.files[rng.choice(sorted(adapter.files))]
    if rng.random() < 0.5:
        adapter.files[rng.choice(["adapter_model.bin", "ADAPTER_CONFIG.JSON"])] = b"\x80\x04N."


def link(rng: random.Random, adapter: Adapter) -> None:
    name = rng.choice([CONFIG, WEIGHTS, "more"])
    adapter.files.pop(name, None)
    adapter.links[name] = rng.choice(["/etc/passwd", "nothing", ".", "/dev/zero", f"../valid/{name}"])


MUTATIONS: list[Mutation] = [
    config_value,
    config_value,
    config_value,
    config_without,
    config_bytes,
    config_twice,
    config_whole,
    cut,
    more,
    head_bytes,
    head_bytes,
    length,
    tensor,
    tensor,
    tensor,
    extra_tensor,
    duplicate,
    header_text,
    not_finite,
    other_format,
    more_files,
    fewer_files,
    link,
]


def mutated(valid: Adapter, seed: int) -> Iterator[tuple[str, Adapter]]:
    rng = random.Random(seed)
    for number in range(CASES):
        mutation = MUTATIONS[number % len(MUTATIONS)]
        adapter = Adapter(valid.files[CONFIG], valid.files[WEIGHTS])
        mutation(rng, adapter)
        yield f"{mutation.__name__} {number}", adapter


def means_the_same(adapter: Adapter, valid: Adapter) -> bool:
    """Whether a mutation changed nothing that anybody reads: the same settings, and the same tensors, named once."""
    if adapter.links or adapter.files.keys() != valid.files.keys():
        return False
    config = json.loads(adapter.files[CONFIG], object_pairs_hook=once)
    told = {
        key: value for key, value in config.items() if key not in HARMLESS and value not in (None, False, 0, "", [], {})
    }
    expected = {key: value for key, value in valid.config.items() if key in told}
    if told != expected or [type(v) for v in told.values()] != [type(expected[k]) for k in told]:
        return False
    return tensors(adapter) == tensors(valid)


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    assert len(dict(pairs)) == len(pairs), "a key stands twice"
    return dict(pairs)


def tensors(adapter: Adapter) -> dict[str, tuple[str, list[int], bytes]]:
    content = adapter.files[WEIGHTS]
    (size,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + size], object_pairs_hook=once)
    header.pop("__metadata__", None)
    data = content[8 + size :]
    return {
        name: (entry["dtype"], entry["shape"], data[entry["data_offsets"][0] : entry["data_offsets"][1]])
        for name, entry in header.items()
    }


@pytest.fixture
def valid(trained: Trained) -> Adapter:
    return Adapter((trained.adapter / CONFIG).read_bytes(), (trained.adapter / WEIGHTS).read_bytes())


@pytest.mark.timeout(SECONDS, func_only=True)
def test_no_mutated_adapter_passes(valid: Adapter, trained: Trained, tmp_path: Path) -> None:
    valid.write(tmp_path / "valid")
    validate(tmp_path / "valid", trained.base, trained.recipe)
    refused: Counter[str] = Counter()
    passed: list[str] = []
    messages: list[str] = []
    for name, adapter in mutated(valid, seed=7):
        adapter.write(tmp_path / "adapter")
        try:
            validate(tmp_path / "adapter", trained.base, trained.recipe)
        except Invalid as error:
            refused[name.split()[0]] += 1
            messages.append(error.message)
        else:
            assert means_the_same(adapter, valid), name
            passed.append(name)
    assert [m for m in messages if not m.endswith(".") or len(m) >= 600] == []
    assert sum(refused.values()) >= 1000, passed
    assert refused.keys() == {mutation.__name__ for mutation in MUTATIONS}
    assert {name.split()[0] for name in passed} <= {"config_value", "config_without", "config_bytes", "head_bytes"}


def test_a_published_adapter_whose_files_changed_is_not_served(valid: Adapter, tmp_path: Path) -> None:
    """What was published is loaded to the byte or not at all."""
    directories = Directories(tmp_path / "adapters")
    directories.root.mkdir()
    manifest = Manifest(1, [], "", {}, {}, {}, 0.0)

    def publish() -> Path:
        made = directories.stage("u1", 1)
        valid.write(made)
        return directories.publish(made, "u1", manifest)

    digest = hashlib.sha256(valid.files[WEIGHTS]).hexdigest()
    final = publish()
    assert directories.verified("u1", 1).files[WEIGHTS] == digest
    kept = (final / "manifest.json").read_bytes()
    rng = random.Random(3)
    for mutation in MUTATIONS * 3:
        adapter = Adapter(valid.files[CONFIG], valid.files[WEIGHTS])
        mutation(rng, adapter)
        adapter.files.setdefault("manifest.json", kept)
        if adapter.files == {**valid.files, "manifest.json": kept} and not adapter.links:
            continue
        adapter.write(final)
        with pytest.raises((Invalid,) if adapter.files["manifest.json"] == kept else Exception):
            directories.verified("u1", 1)
    flipped = bytearray(valid.files[WEIGHTS])
    flipped[-1] ^= 1  # a finite number still
    Adapter(valid.files[CONFIG], bytes(flipped)).write(final)
    (final / "manifest.json").write_bytes(kept)
    with pytest.raises(Invalid, match="not those that were published"):
        directories.verified("u1", 1)
    publish()
    os.rename(final, tmp_path / "elsewhere")
    final.symlink_to(tmp_path / "elsewhere")
    assert directories.verified("u1", 1).files[WEIGHTS] == digest  # the operator may place it where there is room
