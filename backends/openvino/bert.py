"""A BERT encoder as an OpenVINO graph, built from safetensors without torch: token ids in, one vector per row out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from specserve.backends.local.tokens.sentence_modules import read_modules
from specserve.spec.errors import BackendLoadError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import openvino


_MOST = 1 << 24  # of anything that is counted in config.json


@dataclass(frozen=True)
class BertShape:
    """What the configuration files of a sentence-transformers directory say.

    Attributes:
        layers: Encoder layers.
        heads: Attention heads in each.
        hidden: Length of the vectors.
        vocabulary: Token ids are below this.
        positions: Longest input that the position table allows.
        max_length: Longest input that the model's authors intend, special tokens counted.
        epsilon: Of the layer norms.
        activation: ``gelu`` (exact) or ``gelu_new`` (by tanh).
        pooling: ``mean`` over the tokens, or the vector at ``cls``.
        normalize: Whether vectors have length 1.
    """

    layers: int
    heads: int
    hidden: int
    vocabulary: int
    positions: int
    max_length: int
    epsilon: float
    activation: str
    pooling: str
    normalize: bool

    @classmethod
    def read(cls, directory: Path) -> BertShape:
        """Read the configuration files, and refuse what the graph does not do."""
        config = _read_json(directory / "config.json")
        if (kind := config.get("model_type")) != "bert":
            raise BackendLoadError(
                f"{directory}: models of type {kind!r} are not supported for embeddings, only 'bert'"
            )
        if (position := config.get("position_embedding_type", "absolute")) != "absolute":
            raise BackendLoadError(f"{directory}: position embeddings of type {position!r} are not supported")
        if (activation := config.get("hidden_act", "gelu")) not in ("gelu", "gelu_new"):
            raise BackendLoadError(f"{directory}: activation {activation!r} is not supported")
        modules = read_modules(directory, ("mean", "cls"))
        names = ("num_hidden_layers", "num_attention_heads", "hidden_size", "vocab_size", "max_position_embeddings")
        for name in names:
            if not (type(config.get(name)) is int and 0 < config[name] < _MOST):
                raise BackendLoadError(f"{directory}: config.json says {config.get(name)!r} for {name}")
        layers, heads, hidden, vocabulary, positions = (config[name] for name in names)
        epsilon = config.get("layer_norm_eps", 1e-12)
        if not (isinstance(epsilon, int | float) and 0 <= epsilon < 1) or hidden % heads:
            raise BackendLoadError(f"{directory}: the sizes in config.json make no sense")
        return cls(
            layers=layers,
            heads=heads,
            hidden=hidden,
            vocabulary=vocabulary,
            positions=positions,
            max_length=min(modules.max_length or positions, positions),
            epsilon=epsilon,
            activation=activation,
            pooling=modules.pooling,
            normalize=modules.normalize,
        )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, RecursionError, ValueError) as error:
        raise BackendLoadError(f"{path}: cannot be read: {error}") from error
    return found if isinstance(found, dict) else {}


def build(directory: Path, shape: BertShape) -> openvino.Model:
    """Build the graph: inputs `ids` and `mask`, int64 of any [batch, length]; output float32 [batch, hidden]."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tensors = load_file(directory / "model.safetensors")
        return _Graph(tensors, shape).model()
    except KeyError as error:
        raise BackendLoadError(f"{directory}: the weights lack the tensor {error}") from error
    except (OSError, SafetensorError) as error:
        raise BackendLoadError(f"{directory}: the weights cannot be read: {error}") from error
    except (IndexError, RuntimeError, TypeError, ValueError) as error:  # shapes that do not fit each other
        reason = str(error).strip().splitlines()[-1:]
        raise BackendLoadError(f"{directory}: the weights are not those of config.json: {''.join(reason)}") from error


class _Graph:
    """The nodes of one encoder. Tensor names are those of transformers' `BertModel`."""

    def __init__(self, tensors: Mapping[str, Any], shape: BertShape) -> None:
        from openvino import opset13

        self.op = opset13
        self.shape = shape
        prefix = "bert." if "bert.embeddings.word_embeddings.weight" in tensors else ""
        self.tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}

    def model(self) -> openvino.Model:
        import numpy as np
        from openvino import Model, Type

        op, shape = self.op, self.shape
        ids = op.parameter([-1, -1], Type.i64, name="ids")
        mask = op.parameter([-1, -1], Type.i64, name="mask")
        # Padding must get no attention, in any row: [batch, 1, 1, length], true where a token is.
        visible = op.unsqueeze(op.convert(mask, "boolean"), np.array([1, 2]))

        hidden = self.embed(ids)
        for layer in range(shape.layers):
            hidden = self.layer(hidden, visible, f"encoder.layer.{layer}")
        vectors = self.pool(hidden, mask)
        if shape.normalize:
            vectors = op.normalize_l2(vectors, np.array([1]), 1e-12, "max")
        return Model([vectors], [ids, mask], "bert")

    def embed(self, ids: Any) -> Any:
        op = self.op
        # Every token is of type 0, so its embedding is part of the position's.
        table = self.tensors["embeddings.position_embeddings.weight"]
        table = table + self.tensors["embeddings.token_type_embeddings.weight"][0]
        length = op.gather(op.shape_of(ids), op.constant(1), op.constant(0))
        positions = op.range(op.constant(0), length, op.constant(1), "i64")
        words = op.gather(self.constant("embeddings.word_embeddings.weight"), ids, op.constant(0))
        places = op.gather(op.constant(table), positions, op.constant(0))
        return self.norm(op.add(words, places), "embeddings.LayerNorm")

    def layer(self, hidden: Any, visible: Any, name: str) -> Any:
        op = self.op
        query, key, value = (self.heads(hidden, f"{name}.attention.self.{part}") for part in ("query", "key", "value"))
        mixed = op.scaled_dot_product_attention(query, key, value, visible)
        joined = op.reshape(op.transpose(mixed, [0, 2, 1, 3]), [0, 0, self.shape.hidden], special_zero=True)
        attended = op.add(self.dense(joined, f"{name}.attention.output.dense"), hidden)
        attended = self.norm(attended, f"{name}.attention.output.LayerNorm")
        approximation = "erf" if self.shape.activation == "gelu" else "tanh"
        wide = op.gelu(self.dense(attended, f"{name}.intermediate.dense"), approximation)
        return self.norm(op.add(self.dense(wide, f"{name}.output.dense"), attended), f"{name}.output.LayerNorm")

    def heads(self, hidden: Any, name: str) -> Any:
        """Project and cut into heads: [batch, heads, length, size of a head]."""
        op, shape = self.op, self.shape
        split = [0, 0, shape.heads, shape.hidden // shape.heads]
        return op.transpose(op.reshape(self.dense(hidden, name), split, special_zero=True), [0, 2, 1, 3])

    def pool(self, hidden: Any, mask: Any) -> Any:
        op = self.op
        if self.shape.pooling == "cls":
            return op.gather(hidden, op.constant(0), op.constant(1))
        weight = op.unsqueeze(op.convert(mask, "f32"), op.constant(2))
        total = op.reduce_sum(op.multiply(hidden, weight), op.constant(1))
        return op.divide(total, op.reduce_sum(weight, op.constant(1)))

    def dense(self, value: Any, name: str) -> Any:
        product = self.op.matmul(value, self.constant(f"{name}.weight"), False, True)
        return self.op.add(product, self.constant(f"{name}.bias"))

    def norm(self, value: Any, name: str) -> Any:
        op = self.op
        level = op.mvn(value, op.constant([-1]), True, self.shape.epsilon, "inside_sqrt")
        return op.add(op.multiply(level, self.constant(f"{name}.weight")), self.constant(f"{name}.bias"))

    def constant(self, name: str) -> Any:
        return self.op.constant(self.tensors[name])
