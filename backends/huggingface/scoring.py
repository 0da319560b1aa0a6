"""Scores a prompt: the log-probability of each of its tokens, and the likeliest in its place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from specserve.backends.huggingface.chooser import likeliest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedModel


class Scoring:
    """A prompt that is being read, in parts, so that others need not wait for the whole.

    Args:
        model: Reads it, with a KV cache that is gone with this object.
        prompt: Token ids.
        request: What is to be done when it is read.

    Attributes:
        ranks: Log-probability and alternatives of each token but the first, as far as it is read.
    """

    def __init__(self, model: PreTrainedModel, prompt: Sequence[int], request: dict[str, Any]) -> None:
        from transformers import DynamicCache

        self.request = request
        self.ranks: list[tuple[float, list[tuple[int, float]]]] = []
        self._model = model
        self._prompt = prompt
        self._cache = DynamicCache(config=model.config)
        self._read = 0

    @property
    def done(self) -> bool:
        """Whether all is read. The last token is not: nothing is asked of what follows it."""
        return self._read >= len(self._prompt) - 1

    def step(self, most: int) -> None:
        """Read the next tokens, so many at most."""
        import torch

        part = self._prompt[self._read : min(self._read + most, len(self._prompt) - 1)]
        device = self._model.device
        ids = torch.tensor([part], device=device)
        logits = self._model(input_ids=ids, past_key_values=self._cache, use_cache=True).logits[0]
        logprobs = logits[:, : self.request["config"]["vocabulary"]].float().log_softmax(-1)
        following = torch.tensor(self._prompt[self._read + 1 : self._read + 1 + len(part)], device=device)
        own = logprobs.gather(-1, following[:, None])[:, 0].tolist()
        self.ranks += list(zip(own, likeliest(logprobs), strict=True))
        self._read += len(part)
