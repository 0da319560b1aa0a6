"""The engine's own process: ``python -m specserve.backends.openvino.worker``. One thread steps the running batch.

A process, because the engine's `step` holds Python's global lock from beginning to end: in a thread it would stop the
event loop for as long as every step takes, which is seconds while long prompts are read. What is gained beside that:
a crash of the engine is an error of its requests, not of the server.

It speaks lines of JSON. In, first, what to open::

    {"model", "save_to", "whole_zeros", "device", "scheduler": {...}, "properties": {...}, "vocabulary": {...},
     "compute": {"format": see `precision.py`, "required": whether to refuse if the device does not have it},
     "adapters": [{"path", "alpha", "layers": [...]}]}

and then, at any time, requests (several ids are several answers to one prompt, each with its own seed)::

    {"add": [ids], "seeds": [...], "prompt": [...], "config": {...}, "end_ids": [...], "grammar": EBNF or null}
    {"cancel": [ids]}

Out, ``{"ready": true, "capacity": most tokens the KV cache can hold, "compute": number format or null}`` or
``{"failed": why}``, and then one line after each step::

    {"outputs": [[id, [tokens], [logprobs], end or null], ...], "running", "cache_usage"}

where `end` is ``stop``, ``length``, or ``!`` and what went wrong. End of input ends the process.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import sys
import threading
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Any

from specserve.backends.local.process.pipes import begin, send, short
from specserve.backends.openvino import telemetry
from specserve.backends.openvino.grammar_compiler import GrammarCompiler, GrammarQueue
from specserve.backends.openvino.opening import open_pipeline
from specserve.backends.openvino.precision import compute_hint

if TYPE_CHECKING:
    import openvino_genai

_OUT_OF_MEMORY = "!The model has no memory left for this request."
_WARM_UP_TOKENS = 128  # a multiple of every engine's block length
_STALLED_STEPS = 1000  # steps in a row that brought nothing to anybody: the scheduler is stuck


def main() -> int:
    """Open the model, say so, serve until the input ends."""
    replies = begin()
    telemetry.block()
    with contextlib.suppress(ImportError):  # told when the order has come
        import openvino_genai  # noqa: F401  takes a second, in which the server gets ready to say what to open
    line = sys.stdin.buffer.readline()
    if not line:
        return 0
    try:
        order = json.loads(line)
        hint, compute = compute_hint(order["device"], order["compute"]["format"], required=order["compute"]["required"])
        order["properties"] |= hint
        pipeline, compiler = open_pipeline(order)
        capacity = None if order["scheduler"]["cache_size"] == 0 else _warm_up(pipeline)
    except Exception as error:  # noqa: BLE001 - the libraries raise RuntimeError and others; all go to the server
        send(replies, {"failed": short(error)})
        return 1
    send(replies, {"ready": True, "capacity": capacity, "compute": compute})
    worker = _Worker(pipeline, compiler, replies)
    threading.Thread(target=worker.read, args=(sys.stdin.buffer,), daemon=True).start()
    with contextlib.suppress(BrokenPipeError):
        worker.run()
    replies.flush()
    os._exit(0)  # the reader may be inside a read, and nothing is left to be saved


class _Sequence:
    """One answer in the making."""

    def __init__(self, handle: openvino_genai.GenerationHandle) -> None:
        self.handle = handle
        self.held_back: list[tuple[int, int, dict[str, Any]]] = []  # other answers to the same prompt


class _Worker:
    def __init__(
        self,
        pipeline: openvino_genai.ContinuousBatchingPipeline,
        compiler: Callable[[], GrammarCompiler],
        replies: IO[bytes],
    ) -> None:
        self._pipeline = pipeline
        self._replies = replies
        self._inbox: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._grammars = GrammarQueue(compiler, self._inbox.put)
        self._sequences: dict[int, _Sequence] = {}
        self._outputs: list[list[Any]] = []
        self._stalled = 0

    def read(self, requests: IO[bytes]) -> None:
        """Put what the server sends into the inbox; runs in a thread of its own."""
        for line in requests:
            request = json.loads(line)
            if request.get("grammar"):
                self._grammars.put(request)
                continue
            self._grammars.cancel(request.get("cancel", ()))
            self._inbox.put(request)
        self._inbox.put(None)

    def run(self) -> None:
        """Step while there is work; else sleep until a request comes."""
        while self._take_requests():
            self._step()

    def _take_requests(self) -> bool:
        wait = not self._pipeline.has_non_finished_requests() and not self._outputs
        while wait or not self._inbox.empty():
            wait = False
            request = self._inbox.get()
            if request is None:
                return False
            if "add" in request:
                self._add(list(zip(request["add"], request["seeds"], strict=True)), request)
            for sequence_id in request.get("cancel", ()):
                self._cancel(sequence_id)
            self._outputs += [[sequence_id, [], [], request["why"]] for sequence_id in request.get("fail", ())]
        return True

    def _add(self, answers: list[tuple[int, int]], request: dict[str, Any]) -> None:
        """Add one answer now and the others when it has begun: then they find the prompt in the prefix cache."""
        sequence_id, seed = answers[0]
        try:
            handle = self._pipeline.add_request(sequence_id, _tensor(request["prompt"]), _config(request, seed))
        except Exception as error:  # noqa: BLE001 - see `main`
            self._outputs += [[each, [], [], f"!{short(error)}"] for each, _ in answers]
            return
        sequence = self._sequences[sequence_id] = _Sequence(handle)
        sequence.held_back = [(each, its_seed, request) for each, its_seed in answers[1:]]

    def _cancel(self, sequence_id: int) -> None:
        sequence = self._sequences.pop(sequence_id, None)
        if sequence is not None:
            sequence.handle.cancel()
            self._release(sequence)
            return
        for other in self._sequences.values():
            other.held_back = [answer for answer in other.held_back if answer[0] != sequence_id]

    def _release(self, sequence: _Sequence) -> None:
        for sequence_id, seed, request in sequence.held_back:
            self._add([(sequence_id, seed)], request)
        sequence.held_back = []

    def _step(self) -> None:
        try:
            self._pipeline.step()
            if not self._pipeline.has_non_finished_requests():
                self._pipeline.step()  # an empty step makes the engine count what it holds now
        except Exception as error:  # noqa: BLE001 - see `main`
            self._fail_all(f"!{short(error)}")
        for sequence_id in list(self._sequences):
            self._collect(sequence_id)
        self._watch_for_stall()
        metrics = self._pipeline.get_metrics()
        running = metrics.requests if self._pipeline.has_non_finished_requests() else 0
        report = {"outputs": self._outputs, "running": running, "cache_usage": metrics.cache_usage / 100}
        if self._grammars.overfull:
            report["worn"] = True
        self._outputs = []
        send(self._replies, report)

    def _collect(self, sequence_id: int) -> None:
        sequence = self._sequences[sequence_id]
        tokens: list[int] = []
        logprobs: list[float] = []
        end = None
        while sequence.handle.can_read():
            for output in sequence.handle.read().values():
                tokens += output.generated_ids
                logprobs += output.generated_log_probs
                if output.finish_reason.name in ("STOP", "LENGTH"):
                    end = output.finish_reason.name.lower()
        if end is None and sequence.handle.get_status().name == "IGNORED":
            end = _OUT_OF_MEMORY
        if tokens or end:
            self._outputs.append([sequence_id, tokens, logprobs, end])
            self._release(sequence)
        if end:
            del self._sequences[sequence_id]

    def _watch_for_stall(self) -> None:
        self._stalled = 0 if self._outputs or self._pipeline.get_metrics().scheduled_requests else self._stalled + 1
        if self._stalled > _STALLED_STEPS:
            self._fail_all(_OUT_OF_MEMORY)

    def _fail_all(self, why: str) -> None:
        for sequence_id, sequence in self._sequences.items():
            sequence.handle.cancel()
            self._outputs.append([sequence_id, [], [], why])
            self._outputs += [[held_back, [], [], why] for held_back, _, _ in sequence.held_back]
        self._sequences.clear()
        self._stalled = 0


def _warm_up(pipeline: openvino_genai.ContinuousBatchingPipeline) -> int:
    """Generate once, which makes the engine compile its kernels; returns how many tokens its KV cache can hold.

    The cache is counted in blocks, of which the engine tells only the share in use: one token takes one block, and from
    what a longer prompt takes follows how long a block is.
    """
    shares = []
    for length in (1, _WARM_UP_TOKENS - 1):  # and one generated token, whose cache entry is needed for a second
        request = {"config": {"max_new_tokens": 2}, "end_ids": []}
        handle = pipeline.add_request(0, _tensor([0] * length), _config(request, 0))
        share = 0.0
        while pipeline.has_non_finished_requests():
            pipeline.step()
            share = max(share, pipeline.get_metrics().cache_usage / 100)
        shares.append(share)
        del handle  # not earlier: a request ends with its handle
    one_block, prompt = shares
    block_length = _WARM_UP_TOKENS // round(prompt / one_block)
    return int(block_length / one_block)


def _tensor(tokens: list[int]) -> Any:
    import numpy as np
    import openvino as ov

    return ov.Tensor(np.array([tokens], dtype=np.int64))


def _config(request: dict[str, Any], seed: int) -> openvino_genai.GenerationConfig:
    import openvino_genai

    config = openvino_genai.GenerationConfig()
    for name, value in request["config"].items():
        setattr(config, name, value)
    config.rng_seed = seed
    config.stop_token_ids = set(request["end_ids"])
    if not request["end_ids"]:
        config.ignore_eos = True  # the engine insists on an end of sequence
    config.set_eos_token_id(next(iter(request["end_ids"]), 0))
    if request.get("grammar"):
        config.structured_output_config = openvino_genai.StructuredOutputConfig(grammar=request["grammar"])
    return config


if __name__ == "__main__":
    sys.exit(main())
