"""A converted GGUF file has the weights that the file has."""

import base64
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
import tiny_gguf
from gguf import GGMLQuantizationType as Kind
from openvino import opset13 as ops

from specserve.backends.openvino.gguf_conversion import convert
from specserve.backends.openvino.kept import keep
from specserve.backends.openvino.seams import MODEL
from specserve.backends.openvino.vocabulary import engine_tokenizer


def made(tmp_path: Path, kind: Kind, *, whole_zeros: bool) -> tuple[Mapping[str, np.ndarray], list[np.ndarray]]:
    """What the file's tables are, and what OpenVINO reads from the conversion."""
    kept = tiny_gguf.write(tmp_path / "tiny.gguf", kind)
    bytes_ = {"bytes": base64.b64encode(b"x" * tiny_gguf.TOKENS).decode(), "lengths": [1] * tiny_gguf.TOKENS}
    tokenizer, _ = engine_tokenizer(bytes_, tmp_path / MODEL)
    (tmp_path / "made").mkdir()
    convert(tmp_path / "tiny.gguf", tmp_path / "made", tokenizer, whole_zeros=whole_zeros)
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == ["openvino_model.bin", MODEL]
    return kept, list(tables(ov.Core().read_model(tmp_path / "made" / MODEL)))


def tables(model: ov.Model) -> Iterator[np.ndarray]:
    for node in model.get_ordered_ops():
        if node.get_type_name() == "MatMul" and len(node.input_value(1).get_partial_shape()) == 2:
            weights = ov.Model([ops.result(node.input_value(1))], [])
            yield ov.compile_model(weights, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})({})[0]


def interleaved(name: str, weights: np.ndarray) -> np.ndarray:
    """Queries and keys as everything but llama.cpp has them."""
    heads = {"attn_q": tiny_gguf.HEADS, "attn_k": tiny_gguf.KV_HEADS}.get(name.split(".")[-2])
    if heads is None:
        return weights
    return weights.reshape(heads, -1, 2, weights.shape[1]).swapaxes(1, 2).reshape(weights.shape)


def apart(kept: Mapping[str, np.ndarray], read: list[np.ndarray]) -> Mapping[str, float]:
    """For each of the file's tables the greatest difference from the one of the conversion that is most like it."""
    return {
        name: min(np.abs(interleaved(name, table) - other).max() for other in read if other.shape == table.shape)
        for name, table in kept.items()
    }


@pytest.mark.parametrize("kind", [Kind.Q4_0, Kind.Q4_1, Kind.Q8_0])
def test_weights_are_those_of_the_file(tmp_path: Path, kind: Kind) -> None:
    kept, read = made(tmp_path, kind, whole_zeros=False)
    assert len(read) == len(kept) == 15
    assert max(apart(kept, read).values()) < 0.001


def test_with_whole_zero_points_they_are_nearly(tmp_path: Path) -> None:
    kept, read = made(tmp_path, Kind.Q4_1, whole_zeros=True)
    widest = max(np.ptp(table) for name, table in kept.items() if name != "token_embd.weight")
    assert len(read) == 15
    assert max(apart(kept, read).values()) < 0.6 * widest / 255


def test_a_file_that_the_engine_cannot_read_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    tiny_gguf.write(tmp_path / "tiny.gguf", Kind.Q5_0)
    tokenizer, _ = engine_tokenizer({"bytes": "", "lengths": [0]}, tmp_path / MODEL)
    with pytest.raises(RuntimeError, match="gguf"):
        keep(
            tmp_path / "made",
            lambda folder: convert(tmp_path / "tiny.gguf", folder, tokenizer, whole_zeros=False),
        )
    assert sorted(path.name for path in tmp_path.iterdir()) == [".made.lock", "tiny.gguf"]
