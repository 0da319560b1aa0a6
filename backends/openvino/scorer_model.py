"""The model once more, as a function: tokens in, the likeliest next tokens at every place out.

It computes in 32-bit floats throughout, activations and KV cache included, so what it says does not depend on how the
tokens were cut into parts, nor on what else runs.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from specserve.backends.openvino.seams import logits_of, states_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import openvino as ov

MOST_ALTERNATIVES = 20
"""As many as the API can show."""

Rank = tuple[float, list[int], list[float]]
"""Log-probability of the token that came; the likeliest tokens; their log-probabilities."""

_FLOAT = 4  # bytes
_DIGITS = 7  # of a log-probability, behind the point


class Scorer:
    """A compiled model. Not for several threads.

    Attributes:
        bytes_per_token: What one token of a text takes in memory while the text is open.
    """

    def __init__(self, xml: Path, threads: int | None) -> None:
        """Read and compile the model; takes seconds.

        Args:
            xml: A language model with state, as OpenVINO's converters save it.
            threads: CPU threads, or None for all cores.

        Raises:
            RuntimeError: It cannot be read, or is of another kind.
        """
        import openvino as ov

        core = ov.Core()
        model = core.read_model(xml)
        state = states_of(model)
        if not state or len(model.outputs) != 1:
            raise RuntimeError("log-probabilities need a model with state and one output")
        self.bytes_per_token = _FLOAT * sum(_static_size(node.get_output_partial_shape(0)) for node in state)
        self._inputs = {name for port in model.inputs for name in port.names}
        properties: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": "f32",
            "KV_CACHE_PRECISION": "f32",
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,  # else activations are rounded to 8 bits
            "PERFORMANCE_HINT": "LATENCY",
        }
        if threads is not None:
            properties["INFERENCE_NUM_THREADS"] = threads
        self._compiled = core.compile_model(_with_ranks(model), "CPU", properties)

    def open(self) -> Text:
        """Begin a text."""
        return Text(self._compiled.create_infer_request(), self._inputs)


class Text:
    """One text as far as the model has read it; its KV cache lives as long as it does."""

    def __init__(self, request: ov.InferRequest, inputs: set[str]) -> None:
        self._request = request
        self._inputs = inputs
        self.length = 0

    def read(self, tokens: Sequence[int], following: Sequence[int], ranked_from: int) -> list[Rank]:
        """Read on.

        Args:
            tokens: The next tokens.
            following: The token that came after each of them.
            ranked_from: For the first so many of `following` no rank is wanted.

        Returns:
            A rank for each other of `following`.
        """
        import numpy as np

        count = len(tokens)
        places = np.arange(self.length, self.length + count, dtype=np.int64)
        feed = {
            "input_ids": np.array([tokens], dtype=np.int64),
            "attention_mask": np.ones((1, self.length + count), dtype=np.int64),
            "position_ids": places[None],
            "beam_idx": np.zeros(1, dtype=np.int32),
            "following": np.array([following], dtype=np.int64),
        }
        self._request.infer({name: value for name, value in feed.items() if name in self._inputs | {"following"}})
        self.length += count
        if ranked_from >= count:
            return []
        chosen, ids, logprobs = (self._request.get_output_tensor(at).data[0, ranked_from:] for at in range(3))
        return [
            (_tidy(own[0]), its_ids, [_tidy(value) for value in its_logprobs])
            for own, its_ids, its_logprobs in zip(chosen.tolist(), ids.tolist(), logprobs.tolist(), strict=True)
        ]

    def snapshot(self) -> list[Any]:
        """What it remembers, to go on from it elsewhere."""
        return [state.state.data.copy() for state in self._request.query_state()]

    def restore(self, snapshot: list[Any], length: int) -> None:
        """Go on from a snapshot of a text of so many tokens."""
        import openvino as ov

        for state, value in zip(self._request.query_state(), snapshot, strict=True):
            state.state = ov.Tensor(value)
        self.length = length


def _static_size(shape: ov.PartialShape) -> int:
    """Numbers that one token adds to a state: the product of the dimensions that do not grow."""
    return math.prod(dimension.get_length() for dimension in shape if dimension.is_static)


def _with_ranks(model: ov.Model) -> ov.Model:
    """Rank inside the graph: a vocabulary's worth of numbers for every token never leaves it."""
    import numpy as np
    import openvino as ov
    from openvino import opset13 as ops

    logits = ops.convert(logits_of(model), "f32")
    following = ops.parameter([-1, -1], np.int64, name="following")
    following.output(0).set_names({"following"})
    last = ops.constant(np.int64(-1))
    logprobs = ops.log_softmax(logits, axis=-1)
    vocabulary = ops.gather(ops.shape_of(logits), last, ops.constant(np.int64(0)))
    count = ops.minimum(vocabulary, ops.constant(np.int64(MOST_ALTERNATIVES)))
    ids = ops.topk(logprobs, count, axis=-1, mode="max", sort="value", index_element_type="i64").output(1)
    top = ops.gather_elements(logprobs, ids, -1)
    chosen = ops.gather_elements(logprobs, ops.unsqueeze(following, last), -1)
    results = [ops.result(node) for node in (chosen, ids, top)]
    return ov.Model(results, model.get_sinks(), [*model.get_parameters(), following])


def _tidy(logprob: float) -> float:
    """A log-probability with the digits that a 32-bit float has, and never above 0."""
    return min(0.0, round(logprob, _DIGITS))
