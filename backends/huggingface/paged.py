"""Runs sequences in one batch with transformers' own continuous batching: paged attention, prefix sharing, scheduling.

Transformers' manager knows temperature, `top_k` and `top_p` of a request, and nothing else. So it is given one "logits
processor" of ours, which chooses the token of each sequence itself and makes it the likeliest; the manager then has no
choice. The processor also reports what was chosen, step by step.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from specserve.backends.huggingface.chooser import Chooser
from specserve.backends.huggingface.manager import Manager
from specserve.backends.local.process.pipes import short

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from contextlib import AbstractContextManager

    import torch
    from transformers import PreTrainedModel

_PAGE = 32  # tokens; whole pages are shared between prompts that begin alike
_FLASH_PAGE = 256  # what the kernels of flash attention ask for
_SAME = 0.05  # of the logits' spread: what 32-bit attention may differ by at most, computed another way
_SAME_16 = 0.5
_PROBE = 40  # tokens: more than a page


class PagedRunner:
    """The manager with its thread, and who waits for what in it.

    Args:
        model: The model; its attention must be one that the manager knows.
        order: See `order.py`.
        report: Takes what each step brought; called in the manager's thread.

    Raises:
        ValueError: The model does not do paged attention, or does it wrongly; the reason may be another error of the
            library.
    """

    busy = False

    def __init__(self, model: PreTrainedModel, order: dict[str, Any], report: Callable[[list[Any]], None]) -> None:
        self._report = report
        self._choosers: dict[str, Chooser] = {}
        self._probed: list[torch.Tensor] = []
        expected = _greedy(model, _probe(model))
        page = _FLASH_PAGE if "flash" in order["attn_implementation"] else _PAGE
        self._manager = Manager(
            model,
            self._choose,
            page_size=page,
            num_blocks=_blocks(model, order, page),
            max_batch_tokens=order["max_num_batched_tokens"],
            max_requests_per_batch=order["max_num_seqs"],
            allow_block_sharing=order["enable_prefix_caching"],
        )
        try:
            self._probe(model, expected)
        except BaseException:
            self._manager.destroy()
            raise

    @property
    def capacity(self) -> int:
        """Most tokens that the KV cache can hold."""
        return self._manager.capacity

    @property
    def idle(self) -> bool:
        """Whether it holds nothing, and will not before something is added."""
        return not self._choosers and not self.activity()[0]

    def activity(self) -> tuple[int, float]:
        """Sequences that the manager holds, running and waiting, and the share of its cache that they take."""
        sequences, tokens = self._manager.held()
        return sequences, min(1.0, tokens / self.capacity)

    def paused(self) -> AbstractContextManager[None]:
        """Keeps the manager from using the model."""
        return self._manager.paused()

    def add(self, sequence_id: int, prompt: Sequence[int], chooser: Chooser, end_ids: Sequence[int]) -> None:
        """Begin a sequence."""
        self._choosers[str(sequence_id)] = chooser
        ends = [] if chooser.config["ignore_eos"] else list(end_ids)
        self._manager.add(str(sequence_id), list(prompt), chooser.config["max_tokens"], ends)

    def cancel(self, sequence_id: int) -> None:
        """End a sequence within a step; its pages are freed."""
        if self._choosers.pop(str(sequence_id), None) is not None:
            self._manager.cancel(str(sequence_id))

    def step(self) -> None:
        """See what the manager has given up, and that it lives; the steps are made by its own thread."""
        while (result := self._manager.result()) is not None:
            if result.error is not None and self._choosers.pop(result.request_id, None) is not None:
                self._report([[int(result.request_id), [], [], f"!{result.error}"]])
        if not self._manager.runs:
            os._exit(1)  # what it had is lost; the server starts another process

    def _choose(self, names: Iterable[str], rows: torch.Tensor) -> None:
        """Choose for each row of logits, and make what was chosen the likeliest."""
        outputs = []
        for name, row in zip(names, rows, strict=False):
            chooser = self._choosers.get(name)
            if chooser is None:  # cancelled while the step ran
                continue
            try:
                output = chooser.choose(row)
            except Exception as error:  # noqa: BLE001 - goes to the request
                output = [[], [], f"!{short(error)}"]
                self._manager.cancel(name)
            for token in output[0]:
                row[token] = float("inf")
            if output[2]:
                self._choosers.pop(name, None)
            outputs.append([int(name), *output])
        if outputs:
            self._report(outputs)

    def _probe(self, model: PreTrainedModel, expected: list[torch.Tensor]) -> None:
        """Generate a little, and compare with what the model says when it reads all at once."""
        seen: list[torch.Tensor] = []
        report, self._report = self._report, lambda _: None
        self.add(0, _probe(model), _Recorder(seen, len(expected)), [])
        result = self._manager.result(60)
        self._report = report
        if result is None or result.error is not None or len(seen) != len(expected):
            raise ValueError(result.error if result is not None and result.error else "no answer came")
        same = _SAME if model.dtype.itemsize == 4 else _SAME_16
        for own, other in zip(seen, expected, strict=True):
            if not float((own - other).abs().max()) <= same * float(other.std()):
                raise ValueError("its answers are others")


class _Recorder(Chooser):
    """Takes the likeliest and keeps the logits."""

    def __init__(self, seen: list[torch.Tensor], count: int) -> None:
        super().__init__({"max_tokens": count, "ignore_eos": True}, 0, [], [])
        self._logits = seen

    def choose(self, logits: torch.Tensor) -> list[Any]:
        self._logits.append(logits.clone())
        return [[int(logits.argmax())], [], "length" if len(self._logits) == self.config["max_tokens"] else None]


def _probe(model: PreTrainedModel) -> list[int]:
    size = model.config.get_text_config().vocab_size
    return [(7 * at + 3) % size for at in range(_PROBE)]


def _greedy(model: PreTrainedModel, ids: list[int]) -> list[torch.Tensor]:
    """The logits behind a text and behind the two tokens that follow, each time read as a whole."""
    import torch

    found = []
    for _ in range(3):
        logits = model(input_ids=torch.tensor([ids], device=model.device), use_cache=False).logits[0, -1].float()
        found.append(logits)
        ids = [*ids, int(logits.argmax())]
    return found


def _blocks(model: PreTrainedModel, order: dict[str, Any], page: int) -> int:
    """How many pages there is room for, and use for."""
    config = model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    token: int = 2 * config.num_hidden_layers * heads * size * model.dtype.itemsize
    fit = int(order["cache_size_gb"] * (1 << 30) / (token * page))
    longest: int = getattr(config, "max_position_embeddings", None) or fit * page
    most: int = order["max_num_seqs"] * (longest // page + 1)
    return max(4, min(fit, most))
