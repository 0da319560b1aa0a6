"""Runs sequences in one batch with transformers' own continuous batching: paged attention, prefix sharing, scheduling.

Transformers' manager knows temperature, `top_k` and `top_p` of a request, and nothing else. So it is given one "logits
processor" of ours, which chooses the token of each sequence itself and makes it the likeliest; the manager then has no
choice. The processor also reports what was chosen, step by step.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, ClassVar

from specserve.backends.huggingface.chooser import Chooser
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
        from transformers import ContinuousBatchingConfig, GenerationConfig

        self._report = report
        self._choosers: dict[str, Chooser] = {}
        self._probed: list[torch.Tensor] = []
        expected = _greedy(model, _probe(model))
        page = _FLASH_PAGE if "flash" in order["attn_implementation"] else _PAGE
        config = ContinuousBatchingConfig(
            page_size=page,
            num_blocks=_blocks(model, order, page),
            max_batch_tokens=order["max_num_batched_tokens"],
            max_requests_per_batch=order["max_num_seqs"],
            allow_block_sharing=order["enable_prefix_caching"],
            auto_switch_to_flash=False,
            # Both record what runs on a GPU, and would not record what our processor does in Python.
            use_cuda_graph=False,
            use_async_batching=False,
        )
        greedy = GenerationConfig(do_sample=False, eos_token_id=-1, max_new_tokens=1)
        self._manager = model.init_continuous_batching(generation_config=greedy, continuous_batching_config=config)
        self._manager.logit_processor = _processors(self._choose)
        self._manager.start()
        try:
            self._probe(model, expected)
        except BaseException:
            self._manager.destroy()
            raise

    @property
    def capacity(self) -> int:
        """Most tokens that the KV cache can hold."""
        cache = self._manager.batch_processor.cache
        return int(cache.num_blocks * self._manager.continuous_batching_config.page_size)

    @property
    def idle(self) -> bool:
        """Whether it holds nothing, and will not before something is added."""
        return not self._choosers and not self.activity()[0]

    def activity(self) -> tuple[int, float]:
        """Sequences that the manager holds, running and waiting, and the share of its cache that they take."""
        scheduler = self._manager.batch_processor.scheduler
        active = list(scheduler.active_requests.values())
        held = sum(state.current_len() for state in active)
        return len(active) + len(scheduler.waiting_requests), min(1.0, held / self.capacity)

    def paused(self) -> AbstractContextManager[None]:
        """Keeps the manager from using the model."""
        return self._manager.pause()  # type: ignore[no-any-return]  # not typed by transformers

    def add(self, sequence_id: int, prompt: Sequence[int], chooser: Chooser, end_ids: Sequence[int]) -> None:
        """Begin a sequence."""
        self._choosers[str(sequence_id)] = chooser
        self._manager.add_request(
            list(prompt),
            request_id=str(sequence_id),
            max_new_tokens=chooser.config["max_tokens"],
            eos_token_id=-1 if chooser.config["ignore_eos"] or not end_ids else list(end_ids),
        )

    def cancel(self, sequence_id: int) -> None:
        """End a sequence within a step; its pages are freed."""
        if self._choosers.pop(str(sequence_id), None) is not None:
            self._manager.cancel_request(str(sequence_id))

    def step(self) -> None:
        """See what the manager has given up, and that it lives; the steps are made by its own thread."""
        while (result := self._manager.get_result(timeout=0)) is not None:
            if result.error is not None and self._choosers.pop(result.request_id, None) is not None:
                self._report([[int(result.request_id), [], [], f"!{result.error}"]])
        if not self._manager.is_running():
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
                self._manager.cancel_request(name)
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
        result = self._manager.get_result(timeout=60)
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


def _processors(choose: Callable[[Iterable[str], torch.Tensor], None]) -> Any:
    """A list of one processor, of the manager's kind."""
    import torch
    from transformers import LogitsProcessorList
    from transformers.generation.continuous_batching.cb_logits_processors import (
        ContinuousBatchingLogitsProcessor,
        ContinuousBatchingLogitsProcessorList,
    )

    class Processor(ContinuousBatchingLogitsProcessor):  # type: ignore[misc]  # not typed by transformers
        supported_kwargs: ClassVar[dict[str, type]] = {}
        ignored_kwargs: ClassVar[tuple[str, ...]] = ()

        def fill_defaults(self, int32_tensor: torch.Tensor) -> None:
            int32_tensor.fill_(0)

        def prepare_tensor_args(self, requests_with_new_token: list[Any]) -> torch.Tensor:
            # Rows of logits come in this order.
            self.names = [future.state.request_id for future in requests_with_new_token]
            return torch.zeros(len(self.names), dtype=torch.int32)

        def __call__(self, scores: torch.Tensor, tensor_arg: torch.Tensor) -> torch.Tensor:
            choose(self.names, scores)
            return scores

    processors = ContinuousBatchingLogitsProcessorList(LogitsProcessorList([Processor()]))
    processors.tensors_required = 1
    return processors
