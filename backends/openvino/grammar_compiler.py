"""Compiles grammars beside the engine's steps, in a thread of the engine's process.

The engine compiles a grammar in the step that draws the first token under it, and all its requests wait: milliseconds
for a small one, seconds for a large one. What it compiled belongs to its tokenizer, though, and any pipeline of the
same tokenizer finds it there. So a second pipeline draws one token first, of a model that is nothing but a constant; it
does so without Python's global lock, which `step` holds.

It keeps what it compiled for ever, up to 20 MB a grammar. So the process ends, idle, when that has become much, and the
server starts another.
"""

from __future__ import annotations

import queue
import tempfile
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from specserve.backends.local.process.pipes import short

if TYPE_CHECKING:
    import openvino_genai

Request = dict[str, Any]

_MUCH = 1 << 30
"""Bytes that compiled grammars may take before the process is better begun anew."""
_TOO_MUCH = 4 * _MUCH
"""Bytes from which on no other grammar is compiled, however busy the process is."""


class GrammarCompiler:
    """Compiles one grammar after the other.

    Args:
        tokenizer: The engine's own.
        tokens: How many tokens it names.
    """

    def __init__(self, tokenizer: openvino_genai.Tokenizer, tokens: int) -> None:
        self._tokenizer = tokenizer
        self._tokens = tokens
        self._pipeline: openvino_genai.LLMPipeline | None = None

    def compile(self, grammar: str) -> None:
        """Compile a grammar, so that a request with the same text finds it ready.

        Raises:
            RuntimeError: The engine does not understand it.
        """
        import numpy as np
        import openvino as ov
        import openvino_genai

        if self._pipeline is None:
            self._pipeline = self._open()
        config = openvino_genai.GenerationConfig()
        config.max_new_tokens = 1
        config.set_eos_token_id(0)  # the engine insists on one
        config.structured_output_config = openvino_genai.StructuredOutputConfig(grammar=grammar)
        self._pipeline.generate(ov.Tensor(np.zeros((1, 1), dtype=np.int64)), config)

    def _open(self) -> openvino_genai.LLMPipeline:
        import openvino as ov
        import openvino_genai

        with tempfile.TemporaryDirectory() as folder:
            ov.save_model(_indifferent_model(self._tokens), Path(folder) / "openvino_model.xml")
            return openvino_genai.LLMPipeline(folder, self._tokenizer, "CPU", ATTENTION_BACKEND="SDPA")


class GrammarQueue:
    """Lets requests with a grammar wait until that is compiled.

    Args:
        compiler: Opens the compiler, in the thread that compiles, with the first request.
        ready: Takes a request that need not wait any longer, or ``{"fail": [ids], "why": what went wrong}``.
    """

    def __init__(self, compiler: Callable[[], GrammarCompiler], ready: Callable[[Request], None]) -> None:
        self._open = compiler
        self._ready = ready
        self._waiting: queue.SimpleQueue[Request] = queue.SimpleQueue()
        self._ids: set[int] = set()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._taken = 0

    @property
    def overfull(self) -> bool:
        """Whether so much is compiled that the process should be replaced as soon as it is idle."""
        return self._taken > _MUCH

    def put(self, request: Request) -> None:
        """Take a request to add sequences that have a grammar."""
        with self._lock:
            self._ids.update(request["add"])
        self._waiting.put(request)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()

    def cancel(self, ids: Iterable[int]) -> None:
        """Forget those of these sequences that still wait."""
        with self._lock:
            self._ids.difference_update(ids)

    def _run(self) -> None:
        import psutil

        compiler = self._open()
        process = psutil.Process()
        while True:
            request = self._waiting.get()
            if self._ids.isdisjoint(request["add"]):
                continue
            if self._taken > _TOO_MUCH:
                self._pass_on(request, "!The engine has no memory for another grammar until it is idle.")
                continue
            before = process.memory_info().rss
            try:
                compiler.compile(request["grammar"])
                self._taken += max(0, process.memory_info().rss - before)
            except Exception as error:  # noqa: BLE001 - whatever the library raises goes to the server
                self._pass_on(request, f"!{short(error)}")
            else:
                self._pass_on(request)

    def _pass_on(self, request: Request, why: str | None = None) -> None:
        with self._lock:  # what is cancelled from here on finds its sequences in the engine
            answers = [each for each in zip(request["add"], request["seeds"], strict=True) if each[0] in self._ids]
            self._ids.difference_update(request["add"])
            if not answers:
                return
            ids, seeds = zip(*answers, strict=True)
            self._ready(request | {"add": ids, "seeds": seeds} if why is None else {"fail": ids, "why": why})


def _indifferent_model(tokens: int) -> Any:
    """A model that gives each of so many tokens the same chance."""
    import numpy as np
    import openvino as ov
    from openvino import opset13 as ops

    ids = ops.parameter([-1, -1], np.int64, name="input_ids")
    inputs = [ids, ops.parameter([-1, -1], np.int64, name="attention_mask")]
    inputs.append(ops.parameter([-1], np.int32, name="beam_idx"))
    for each in inputs:
        each.output(0).set_names({each.get_friendly_name()})
    shape = ops.concat([ops.shape_of(ids), ops.constant(np.array([tokens], dtype=np.int64))], axis=0)
    logits = ops.broadcast(ops.constant(np.zeros((1, 1, 1), dtype=np.float32)), shape)
    logits.output(0).set_names({"logits"})
    return ov.Model([ops.result(logits)], inputs, "indifferent")
