"""Runs sequences with a KV cache for each, one after the other in every step: for models without paged attention."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from specserve.backends.local.process.pipes import short

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from transformers import PreTrainedModel

    from specserve.backends.huggingface.chooser import Chooser


class _Sequence:
    """One sequence: what is still to be read, and the cache of what was."""

    def __init__(self, prompt: Sequence[int], chooser: Chooser, config: Any) -> None:
        from transformers import DynamicCache

        self.unread = list(prompt)
        self.chooser = chooser
        self.cache = DynamicCache(config=config)


class SingleRunner:
    """As `PagedRunner`, but each sequence has a cache of its own, and so many run at most.

    Args:
        model: The model.
        order: See `order.py`.
        report: Takes what each step brought.
    """

    capacity = None

    def __init__(self, model: PreTrainedModel, order: dict[str, Any], report: Callable[[list[Any]], None]) -> None:
        self._model = model
        self._report = report
        self._most = order["max_num_seqs"]
        self._most_tokens = order["max_num_batched_tokens"]
        self._sequences: dict[int, _Sequence] = {}

    @property
    def busy(self) -> bool:
        """Whether `step` has something to do."""
        return bool(self._sequences)

    @property
    def idle(self) -> bool:
        """Whether it holds nothing."""
        return not self._sequences

    def activity(self) -> tuple[int, float]:
        """Sequences, running and waiting, and the share of the cache in use, which nobody limits."""
        return len(self._sequences), 0.0

    def paused(self) -> AbstractContextManager[None]:
        """Nothing runs but within `step`."""
        return nullcontext()

    def add(self, sequence_id: int, prompt: Sequence[int], chooser: Chooser, end_ids: Sequence[int]) -> None:
        """Begin a sequence, or let it wait for its turn."""
        self._sequences[sequence_id] = _Sequence(prompt, chooser, self._model.config)

    def cancel(self, sequence_id: int) -> None:
        """End a sequence; its cache goes with it."""
        self._sequences.pop(sequence_id, None)

    def step(self) -> None:
        """One token, or one part of its prompt, for each that runs."""
        outputs = []
        for sequence_id, sequence in list(self._sequences.items())[: self._most]:
            try:
                output = self._advance(sequence)
            except Exception as error:  # noqa: BLE001 - goes to the request
                output = [[], [], f"!{short(error)}"]
            if output is not None:
                outputs.append([sequence_id, *output])
                if output[2]:
                    del self._sequences[sequence_id]
        self._report(outputs)

    def _advance(self, sequence: _Sequence) -> list[Any] | None:
        import torch

        part, sequence.unread = sequence.unread[: self._most_tokens], sequence.unread[self._most_tokens :]
        ids = torch.tensor([part], device=self._model.device)
        logits = self._model(input_ids=ids, past_key_values=sequence.cache, use_cache=True, logits_to_keep=1).logits
        if sequence.unread:
            return None
        output = sequence.chooser.choose(logits[0, -1].float())
        sequence.unread = list(output[0])
        return output
