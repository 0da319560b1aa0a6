"""Transformers' manager of continuous batching, as far as we use it: its documented part and what is relied on beyond.

Not documented, and so bounded by the version in pyproject.toml and watched by tests/huggingface/test_manager.py: that
the manager takes another list of logits processors once it is made, that rows of logits come in the order of
`requests_with_new_token`, and what its scheduler and its cache hold. Used in the engine's process only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import AbstractContextManager

    import torch
    from transformers import PreTrainedModel


class Manager:
    """A running manager, with its thread.

    Args:
        model: The model; its attention must be one that the manager knows.
        choose: Called in the manager's thread with the names of sequences and their logits, a row each; makes the
            token of its choice the likeliest of each row.
        settings: Fields of transformers' ContinuousBatchingConfig.

    Raises:
        Exception: The model does not do paged attention. The library raises errors of every kind.
    """

    def __init__(
        self, model: PreTrainedModel, choose: Callable[[Iterable[str], torch.Tensor], None], **settings: Any
    ) -> None:
        from transformers import ContinuousBatchingConfig, GenerationConfig

        config = ContinuousBatchingConfig(
            **settings,
            auto_switch_to_flash=False,
            # Both record what runs on a GPU, and would not record what our processor does in Python.
            use_cuda_graph=False,
            use_async_batching=False,
        )
        greedy = GenerationConfig(do_sample=False, eos_token_id=-1, max_new_tokens=1)
        self._manager = model.init_continuous_batching(generation_config=greedy, continuous_batching_config=config)
        self._manager.logit_processor = _processors(choose)
        self._manager.start()

    @property
    def capacity(self) -> int:
        """Most tokens that the KV cache can hold. Only once something was generated: its thread makes the cache."""
        cache = self._manager.batch_processor.cache
        return int(cache.num_blocks * self._manager.continuous_batching_config.page_size)

    @property
    def runs(self) -> bool:
        """Whether its thread lives."""
        return bool(self._manager.is_running())

    def held(self) -> tuple[int, int]:
        """Sequences that it holds, running and waiting; tokens of those that run."""
        scheduler = self._manager.batch_processor.scheduler
        active = list(scheduler.active_requests.values())
        return len(active) + len(scheduler.waiting_requests), sum(state.current_len() for state in active)

    def paused(self) -> AbstractContextManager[None]:
        """Keeps it from using the model."""
        return self._manager.pause()  # type: ignore[no-any-return]  # not typed by transformers

    def add(self, name: str, prompt: list[int], most: int, end_ids: list[int]) -> None:
        """Begin a sequence of at most so many tokens, which ends with any of some."""
        self._manager.add_request(prompt, request_id=name, max_new_tokens=most, eos_token_id=end_ids or -1)

    def cancel(self, name: str) -> None:
        """End a sequence within a step."""
        self._manager.cancel_request(name)

    def result(self, timeout: float = 0) -> Any:
        """One of the results that have come, with `request_id` and `error`; None if none comes in so many seconds."""
        return self._manager.get_result(timeout=timeout)

    def destroy(self) -> None:
        """End it."""
        self._manager.destroy()


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
