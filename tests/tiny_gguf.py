"""Writes a tiny llama with random weights as a GGUF file, in the formats whose maker is in the library."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Kind

WIDTH, HEADS, KV_HEADS, FORWARD, TOKENS = 64, 4, 2, 96, 128
SHAPES = {
    "attn_q": (WIDTH, WIDTH),
    "attn_k": (WIDTH * KV_HEADS // HEADS, WIDTH),
    "attn_v": (WIDTH * KV_HEADS // HEADS, WIDTH),
    "attn_output": (WIDTH, WIDTH),
    "ffn_gate": (FORWARD, WIDTH),
    "ffn_up": (FORWARD, WIDTH),
    "ffn_down": (WIDTH, FORWARD),
}


def write(path: Path, kind: Kind) -> Mapping[str, np.ndarray]:
    """Write the file; returns each table's weights as the format could keep them."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(2)
    writer.add_context_length(64)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(TOKENS)
    writer.add_file_type(int(gguf.LlamaFileType.MOSTLY_Q4_1))
    kept = {}
    for name, weights in _weights():
        if weights.ndim == 1:
            writer.add_tensor(name, weights)
            continue
        table = gguf.quantize(weights, Kind.Q8_0 if name == "token_embd.weight" else kind)
        writer.add_tensor(name, table, raw_dtype=Kind.Q8_0 if name == "token_embd.weight" else kind)
        kept[name] = gguf.dequantize(table, Kind.Q8_0 if name == "token_embd.weight" else kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return kept


def _weights() -> Iterator[tuple[str, np.ndarray]]:
    random = np.random.default_rng(0)
    yield "token_embd.weight", random.normal(size=(TOKENS, WIDTH)).astype(np.float32)
    yield "output_norm.weight", np.ones(WIDTH, dtype=np.float32)
    for layer in range(2):
        for name, shape in SHAPES.items():
            weights = random.normal(scale=0.1, size=shape).astype(np.float32)
            weights[3, :32] = 0.25  # a group of one value
            weights[4, :32] = 0
            weights[5, :32] += 1  # a group far from zero
            weights[6, 32:64] -= 1
            yield f"blk.{layer}.{name}.weight", weights
        for name in ("attn_norm", "ffn_norm"):
            yield f"blk.{layer}.{name}.weight", np.ones(WIDTH, dtype=np.float32)
