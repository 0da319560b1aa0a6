"""Tells the engine the bytes of each token, which it needs to hold to a grammar.

The engine takes them from a detokenizer. One that is made of constants opens in a tenth of a second, where OpenVINO's
own, made from a GGUF file, takes seconds; what it would answer if it were asked to detokenize does not matter.
"""

from __future__ import annotations

import base64
import itertools
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from specserve.backends.openvino.seams import DETOKENIZER, LOGITS, name_vocabulary

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import openvino_genai


def engine_tokenizer(vocabulary: Mapping[str, Any], model: Path) -> tuple[openvino_genai.Tokenizer, int]:
    """A tokenizer that tells the engine the bytes of its tokens, and can do nothing else; and how many they are.

    Args:
        vocabulary: See `local/vocabulary.py`.
        model: The model's openvino_model.xml; where it does not exist yet, its tokens are those of the vocabulary.
    """
    import openvino as ov
    import openvino_genai

    size = _logits(model) if model.exists() else None
    data, lengths = _pieces(vocabulary, size)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / DETOKENIZER
        ov.save_model(_detokenizer(data, lengths), path, compress_to_fp16=False)
        return openvino_genai.Tokenizer(folder), len(lengths)


def _logits(model: Path) -> int | None:
    """How many tokens the model can choose from: its table is often longer than its tokenizer's."""
    import openvino as ov

    dimension = ov.Core().read_model(model).output(LOGITS).get_partial_shape()[-1]
    return dimension.get_length() if dimension.is_static else None


def _pieces(vocabulary: Mapping[str, Any], size: int | None) -> tuple[bytes, Sequence[int]]:
    data, lengths = base64.b64decode(vocabulary["bytes"]), vocabulary["lengths"]
    if size is not None:
        # A grammar is held over as many tokens as are named here: one more or less, and the engine would write beside.
        lengths = lengths[:size] + [0] * (size - len(lengths))
    return data, lengths


def _detokenizer(data: bytes, lengths: Iterable[int]) -> Any:
    """A model with the constants that the engine looks for, behind a node of the name that it looks for."""
    import numpy as np
    import openvino as ov
    from openvino import opset13 as ops
    from openvino.op import Constant

    ends = np.array(list(itertools.accumulate(lengths)), dtype=np.int64)
    begins = np.concatenate([[0], ends[:-1]])
    tables = [ops.constant(table) for table in (begins, ends, np.frombuffer(data, dtype=np.uint8).astype(np.int64))]
    ids = ops.parameter([-1, -1], np.int64, name="ids")
    flat = ops.reshape(ids, ops.constant(np.array([-1], dtype=np.int64)), special_zero=False)
    vocabulary = ops.concat([flat, *tables], axis=0)
    name_vocabulary(vocabulary)
    # By way of a tensor: a constant made of an array of strings shares its memory, and reads it as what it is not.
    text = ops.result(Constant(ov.Tensor([""])))
    return ov.Model([text, ops.result(vocabulary)], [ids], "detokenizer")
