"""all-MiniLM-L6-v2 for one text at a time on one core: the weights as eight-bit ONNX, made in memory from safetensors.

torch takes 19 ms for a text of 36 tokens, ONNX Runtime 8 in single precision and 4 in eight bits. What its own dynamic
quantisation loses comes from one scale for all tokens' activations (cosines to single precision down to .98), so here
each token has its own. Weights have seven bits: products of eight overflow on a processor without VNNI.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from preference.ports import Vectors

MAX_TOKENS = 256
HEAD, HEAD_WEIGHT = 8, 0.3
"""So many tokens at the beginning count for so much more in a form: there it stands what is asked for."""
_LARGEST = 63  # of a weight: seven bits
_FUSED = "com.microsoft"  # ONNX Runtime's own operators


class Encoder:
    """A BERT that sentence-transformers pools by the mean, from its ``folder``; in one thread."""

    def __init__(self, folder: Path) -> None:
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(MAX_TOKENS)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        model = _Graph(folder).model().SerializeToString()
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.dimension = int(self._session.get_outputs()[0].shape[1])

    def read(self, texts: Sequence[str]) -> tuple[Vectors, Vectors]:
        """Unit vectors of ``texts``, float32 [texts, dimension], by the middle layers and by the last.

        Thread-safe, blocking.
        """
        forms, abouts = zip(*map(self._run, texts), strict=True)
        return np.concatenate(forms), np.concatenate(abouts)

    def _run(self, text: str) -> list[Vectors]:
        ids = np.array([self._tokenizer.encode(text).ids], np.int64)
        vectors: list[Vectors] = self._session.run(None, {"ids": ids, "places": np.arange(ids.shape[1])})
        return vectors


def middle(layers: int) -> tuple[int, int]:
    """The layers, of so many, that know a text's form best: at a half and at two thirds, measured on six and twelve."""
    return max(1, layers // 2), max(1, 2 * layers // 3)


class _Graph:
    """The model as ONNX nodes, written down once from the weights in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._config = json.loads((folder / "config.json").read_text())
        self._weights = load_file(folder / "model.safetensors")
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}

    def model(self) -> onnx.ModelProto:
        """From token ``ids`` [1, tokens] and their ``places`` [tokens] to two unit vectors, [1, dimension].

        The first is of the middle layers, whose first tokens count for more, the second of the last layer.
        """
        layers = self._config["num_hidden_layers"]
        words = self._weights["embeddings.word_embeddings.weight"]
        kind = self._weights["embeddings.token_type_embeddings.weight"][0]
        word = self._node("Gather", self._constant("words", words + kind), "ids")
        place = self._node("Gather", self._weight("embeddings.position_embeddings.weight"), "places")
        states = [self._norm("embeddings.LayerNorm", word, place)]
        for number in range(layers):
            states.append(self._layer(f"encoder.layer.{number}", states[-1]))
        summed = self._node("Sum", *(states[layer] for layer in middle(layers)))
        ends = self._constant("head begins", np.array([0])), self._constant("head ends", np.array([HEAD]))
        head = self._mean(self._node("Slice", summed, *ends, self._axis))
        weighted = self._node("Mul", head, self._constant("head weight", np.float32(HEAD_WEIGHT)))
        vectors = [self._node("Add", self._mean(summed), weighted), self._mean(states[-1])]
        vectors = [self._node("LpNormalization", vector, axis=-1, p=2) for vector in vectors]
        size = self._config["hidden_size"]
        graph = helper.make_graph(
            self._nodes,
            "encoder",
            [
                helper.make_tensor_value_info("ids", onnx.TensorProto.INT64, [1, "tokens"]),
                helper.make_tensor_value_info("places", onnx.TensorProto.INT64, ["tokens"]),
            ],
            [helper.make_tensor_value_info(vector, onnx.TensorProto.FLOAT, [1, size]) for vector in vectors],
            list(self._constants.values()),
        )
        operators = [helper.make_opsetid("", 18), helper.make_opsetid(_FUSED, 1)]
        return helper.make_model(graph, opset_imports=operators, ir_version=10)

    @property
    def _axis(self) -> str:
        return self._constant("tokens axis", np.array([1]))

    def _mean(self, state: str) -> str:
        return self._node("ReduceMean", state, self._axis, keepdims=0)

    def _layer(self, name: str, state: str) -> str:
        heads = self._config["num_attention_heads"]
        attention = f"{name}.attention"
        asked = [f"{attention}.self.{part}" for part in ("query", "key", "value")]
        parts = self._nodes_of("Split", self._linear(state, *asked), outputs=3, axis=2, num_outputs=3)
        seen = self._node("MultiHeadAttention", *parts, domain=_FUSED, num_heads=heads)
        state = self._norm(f"{attention}.output.LayerNorm", self._linear(seen, f"{attention}.output.dense"), state)
        wide = self._node("Gelu", self._linear(state, f"{name}.intermediate.dense"), domain=_FUSED)
        return self._norm(f"{name}.output.LayerNorm", self._linear(wide, f"{name}.output.dense"), state)

    def _linear(self, state: str, *names: str) -> str:
        """``state`` by the weights of ``names`` beside each other: whole numbers, a scale for each token and column."""
        weight = np.concatenate([self._weights[f"{name}.weight"] for name in names])
        bias = np.concatenate([self._weights[f"{name}.bias"] for name in names])
        steps = (np.abs(weight).max(axis=1) / _LARGEST).astype(np.float32)
        whole = np.rint(weight / steps[:, None]).astype(np.int8).T
        name = names[0]
        last = self._constant("last axis", np.array([-1]))
        largest = self._node("ReduceMax", self._node("Abs", state), last, keepdims=1)
        step = self._node("Mul", largest, self._constant("a step of 127", np.float32(1 / 127)))
        one, middle = self._constant("one", np.float32(1)), self._constant("middle", np.uint8(128))
        tokens = self._node("QuantizeLinear", self._node("Div", state, step), one, middle)
        columns = [self._constant(f"{name} whole", whole), one, self._constant(f"{name} steps", steps), middle]
        product = self._node("MatMulIntegerToFloat", tokens, *columns, domain=_FUSED)
        return self._node("Add", self._node("Mul", product, step), self._constant(f"{name} bias", bias))

    def _norm(self, name: str, state: str, other: str) -> str:
        scale, shift = self._weight(f"{name}.weight"), self._weight(f"{name}.bias")
        epsilon = self._config["layer_norm_eps"]
        return self._node("SkipLayerNormalization", state, other, scale, shift, domain=_FUSED, epsilon=epsilon)

    def _weight(self, name: str) -> str:
        return self._constant(name, self._weights[name])

    def _constant(self, name: str, value: NDArray[Any] | np.generic) -> str:
        if name not in self._constants:
            self._constants[name] = numpy_helper.from_array(np.ascontiguousarray(value).reshape(np.shape(value)), name)
        return name

    def _node(self, operator: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        return self._nodes_of(operator, *inputs, outputs=1, domain=domain, **attributes)[0]

    def _nodes_of(self, operator: str, *inputs: str, outputs: int, domain: str = "", **attributes: Any) -> list[str]:
        names = [f"{len(self._nodes)} {operator} {number}" for number in range(outputs)]
        self._nodes.append(helper.make_node(operator, inputs, names, domain=domain, **attributes))
        return names
