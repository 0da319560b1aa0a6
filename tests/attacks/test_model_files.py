"""Files of models that are hostile, damaged or changed: one line that says so, and nothing made of them is used."""

from __future__ import annotations

import contextlib
import json
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from specserve.backends.local.tokens.gguf import read_metadata
from specserve.backends.local.tokens.model_files import read_gguf
from specserve.backends.openvino import bert
from specserve.spec.errors import BackendLoadError

MUCH = 64 << 20  # bytes, for a header of a few kilobytes
PER_FILE = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def string(text: str | bytes) -> bytes:
    data = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(data)) + data


def strings(*texts: str) -> bytes:
    return struct.pack("<IIQ", 9, 8, len(texts)) + b"".join(map(string, texts))


def gguf(keys: dict[str, bytes], tensors: bytes = b"", *, count: int = 0, counted: int | None = None) -> bytes:
    told = len(keys) if counted is None else counted
    return b"GGUF" + struct.pack("<IQQ", 3, count, told) + b"".join(string(k) + v for k, v in keys.items()) + tensors


WHOLE = {
    "general.architecture": struct.pack("<I", 8) + string("llama"),
    "llama.context_length": struct.pack("<II", 4, 128),
    "tokenizer.ggml.model": struct.pack("<I", 8) + string("gpt2"),
    "tokenizer.ggml.pre": struct.pack("<I", 8) + string("smollm"),
    "tokenizer.ggml.tokens": strings("a", "b", "ab", "<|end|>"),
    "tokenizer.ggml.merges": strings("a b"),
    "tokenizer.ggml.token_type": struct.pack("<IIQ4i", 9, 5, 4, 1, 1, 1, 3),
    "tokenizer.ggml.eos_token_id": struct.pack("<II", 4, 3),
    "tokenizer.ggml.bos_token_id": struct.pack("<II", 4, 3),
    "tokenizer.ggml.add_bos_token": struct.pack("<I?", 7, True),
}
TENSOR = string("output_norm.weight") + struct.pack("<IQIQ", 1, 64, 0, 0)
GOOD = gguf(WHOLE, TENSOR, count=1)
GOOD += b"\0" * (-len(GOOD) % 32 + 64 * 4)


def nested(depth: int) -> bytes:
    return b"".join(struct.pack("<IQ", 9, 1) for _ in range(depth))


def tensor(dimensions: tuple[int, ...], kind: int = 0, offset: int = 0) -> bytes:
    return string("t") + struct.pack(f"<I{len(dimensions)}QIQ", len(dimensions), *dimensions, kind, offset)


def with_key(name: str, value: bytes) -> bytes:
    made = gguf(WHOLE | {name: value}, TENSOR, count=1)
    return made + b"\0" * (-len(made) % 32 + 64 * 4)


HUGE = (1 << 64) - 1
HOSTILE = {
    "nothing": b"",
    "four bytes": b"GGUF",
    "more keys than there are": gguf(WHOLE, counted=HUGE),
    "more tensors than there are": gguf(WHOLE, count=HUGE),
    "half of the numbers are keys": gguf(WHOLE, count=1 << 63, counted=1 << 63),
    "a key as long as the disk": b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, HUGE),
    "a string of minus one": with_key("x", struct.pack("<Iq", 8, -1)),
    "a list of 2**64 bytes": with_key("x", struct.pack("<IIQ", 9, 0, HUGE)),
    "a list of 2**26 strings": with_key("x", struct.pack("<IIQ", 9, 8, 1 << 26)),
    "a list of 2**40 lists": with_key("x", struct.pack("<IIQ", 9, 9, 1 << 40)),
    "lists in lists": with_key("x", struct.pack("<I", 9) + nested(100_000)),
    "a type that is none": with_key("x", struct.pack("<IQ", 99, 0)),
    "a tensor of 2**32 dimensions": gguf(WHOLE, string("t") + struct.pack("<I", (1 << 32) - 1), count=1),
    "a tensor of 2**126 numbers": gguf(WHOLE, tensor((1 << 63, 1 << 63)), count=1) + b"\0" * 1000,
    "a tensor behind the end": gguf(WHOLE, tensor((1,), offset=HUGE), count=1) + b"\0" * 1000,
    "a tensor longer than the file": gguf(WHOLE, tensor((64, 1 << 20), kind=3), count=1) + b"\0" * 1000,
    "an alignment of 2**63": gguf(
        WHOLE | {"general.alignment": struct.pack("<IQ", 10, 1 << 63)}, tensor((1,)), count=1
    ),
    "fewer types than tokens": with_key("tokenizer.ggml.token_type", struct.pack("<IIQi", 9, 5, 1, 1)),
    "a beginning beyond the tokens": with_key("tokenizer.ggml.bos_token_id", struct.pack("<II", 4, 1 << 31)),
    "a merge of what is no token": with_key("tokenizer.ggml.merges", strings("x y")),
    "a tokenizer that is a number": with_key("tokenizer.ggml.tokens", struct.pack("<II", 4, 1)),
    "no context": with_key("llama.context_length", struct.pack("<Ii", 5, -1)),
}


def read(path: Path, content: bytes) -> None:
    """Read a file; what is wrong with it is one line, and costs little."""
    path.write_bytes(content)
    tracemalloc.start()
    try:
        read_gguf(path)
    except BackendLoadError as error:
        assert "\n" not in str(error)
        raise
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < MUCH


def test_the_file_that_the_others_are_made_from_is_whole(tmp_path: Path) -> None:
    read(tmp_path / "m.gguf", GOOD)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_gguf_header_is_one_line_and_costs_little(tmp_path: Path, name: str) -> None:
    with pytest.raises(BackendLoadError):
        read(tmp_path / "m.gguf", HOSTILE[name])


def test_a_gguf_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    for length in range(0, len(GOOD), 7):
        with pytest.raises(BackendLoadError):
            read(tmp_path / "m.gguf", GOOD[:length])


@PER_FILE
@given(st.data())
def test_a_gguf_file_with_any_bytes_changed_is_read_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        new = data.draw(st.one_of(st.binary(min_size=1, max_size=8), st.sampled_from([b"\xff" * 8, b"\0" * 8])))
        content[at : at + len(new)] = new
    with contextlib.suppress(BackendLoadError):
        read(tmp_path / "m.gguf", bytes(content))


@PER_FILE
@given(st.binary(max_size=300))
def test_any_bytes_behind_the_magic_are_read_or_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"GGUF\x03\0\0\0" + content)
    try:
        read_metadata(path)
    except BackendLoadError as error:
        assert "\n" not in str(error)


# An embedding model: configuration files and safetensors.

SIZES = {"num_hidden_layers": 1, "num_attention_heads": 2, "hidden_size": 4, "vocab_size": 8}
CONFIG: dict[str, Any] = {"model_type": "bert", "max_position_embeddings": 16, **SIZES}
LAYER = "encoder.layer.0."
SHAPES = {
    "embeddings.word_embeddings.weight": (8, 4),
    "embeddings.position_embeddings.weight": (16, 4),
    "embeddings.token_type_embeddings.weight": (2, 4),
    "embeddings.LayerNorm.weight": (4,),
    "embeddings.LayerNorm.bias": (4,),
    **{f"{LAYER}attention.self.{part}.weight": (4, 4) for part in ("query", "key", "value")},
    **{f"{LAYER}attention.self.{part}.bias": (4,) for part in ("query", "key", "value")},
    **{f"{LAYER}{part}.weight": (4, 4) for part in ("attention.output.dense", "intermediate.dense", "output.dense")},
    **{f"{LAYER}{part}.bias": (4,) for part in ("attention.output.dense", "intermediate.dense", "output.dense")},
    **{
        f"{LAYER}{part}.LayerNorm.{kind}": (4,)
        for part in ("attention.output", "output")
        for kind in ("weight", "bias")
    },
}


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    folder = tmp_path / "encoder"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    save_file({name: np.ones(shape, np.float32) for name, shape in SHAPES.items()}, folder / "model.safetensors")
    return folder


def build(folder: Path) -> None:
    try:
        bert.build(folder, bert.BertShape.read(folder))
    except BackendLoadError as error:
        assert "\n" not in str(error)
        raise


def test_the_encoder_that_the_others_are_made_from_is_whole(encoder: Path) -> None:
    build(encoder)


@pytest.mark.parametrize("length", [0, 4, 8, 200, -1])
def test_a_safetensors_file_that_is_cut_is_refused(encoder: Path, length: int) -> None:
    weights = encoder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:length])
    with pytest.raises(BackendLoadError):
        build(encoder)


@pytest.mark.parametrize("length", [0, 1, (1 << 63) - 1, (1 << 64) - 1, 1 << 40])
def test_a_safetensors_file_with_a_header_of_any_length_is_refused(encoder: Path, length: int) -> None:
    weights = encoder / "model.safetensors"
    weights.write_bytes(struct.pack("<Q", length) + weights.read_bytes()[8:])
    with pytest.raises(BackendLoadError):
        build(encoder)


@PER_FILE
@given(st.data())
def test_a_safetensors_file_with_any_bytes_changed_is_read_or_refused(encoder: Path, data: st.DataObject) -> None:
    weights = encoder / "model.safetensors"
    good = weights.read_bytes()
    content = bytearray(good)
    header = struct.unpack("<Q", good[:8])[0] + 8
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, header - 1))
        new = data.draw(st.binary(min_size=1, max_size=6))
        content[at : at + len(new)] = new
    weights.write_bytes(content)
    try:
        build(encoder)
    except BackendLoadError:
        pass
    finally:
        weights.write_bytes(good)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@PER_FILE
@given(st.sampled_from([*CONFIG, "layer_norm_eps", "hidden_act", "position_embedding_type"]), JSON)
def test_a_configuration_with_any_value_is_read_or_refused(encoder: Path, key: str, value: Any) -> None:
    (encoder / "config.json").write_text(json.dumps(CONFIG | {key: value}))
    with contextlib.suppress(BackendLoadError):
        build(encoder)


@PER_FILE
@given(st.sampled_from(["modules.json", "sentence_bert_config.json", "config.json"]), JSON)
def test_any_json_in_place_of_a_configuration_is_read_or_refused(encoder: Path, name: str, value: Any) -> None:
    good = {path: path.read_bytes() for path in encoder.glob("*.json")}
    (encoder / name).write_text(json.dumps(value))
    try:
        build(encoder)
    except BackendLoadError:
        pass
    finally:
        (encoder / name).unlink()
        for path, content in good.items():
            path.write_bytes(content)


def test_a_configuration_nested_without_end_is_refused(encoder: Path) -> None:
    (encoder / "config.json").write_text("[" * 100_000)
    with pytest.raises(BackendLoadError):
        build(encoder)
