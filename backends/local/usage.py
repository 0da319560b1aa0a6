"""What a request took, counted and as the contract has it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from specserve.backends.construct import construct
from specserve.backends.local.stencil import hole, stencil
from specserve.generated.models import CompletionTokensDetails, CompletionUsage, PromptTokensDetails

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Usage:
    """Tokens that a request took.

    Attributes:
        prompt_tokens: Of all prompts, each counted once.
        completion_tokens: Of all answers, also those that `best_of` drops; up to and with the token that completed a
            stop string.
        cached_tokens: Prompt tokens that the engine found in its cache; None if it does not tell.
        reasoning_tokens: Those of `completion_tokens` that were thoughts.
    """

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int | None
    reasoning_tokens: int = 0

    def told(self) -> Mapping[str, Any]:
        """What stands in the log."""
        return {"prompt_tokens": self.prompt_tokens, "completion_tokens": self.completion_tokens}

    def model(self) -> CompletionUsage:
        """As the contract's model."""
        return _model(
            cached_tokens=self.cached_tokens,
            completion_tokens=self.completion_tokens,
            prompt_tokens=self.prompt_tokens,
            reasoning_tokens=self.reasoning_tokens,
            total_tokens=self.prompt_tokens + self.completion_tokens,
        )

    def json(self) -> bytes:
        """The JSON of `model`."""
        return _stencil(cached=self.cached_tokens is not None) % {
            b"cached_tokens": b"%d" % (self.cached_tokens or 0),
            b"completion_tokens": b"%d" % self.completion_tokens,
            b"prompt_tokens": b"%d" % self.prompt_tokens,
            b"reasoning_tokens": b"%d" % self.reasoning_tokens,
            b"total_tokens": b"%d" % (self.prompt_tokens + self.completion_tokens),
        }


def _model(**counts: Any) -> CompletionUsage:
    made = construct(
        CompletionUsage,
        prompt_tokens=counts["prompt_tokens"],
        completion_tokens=counts["completion_tokens"],
        total_tokens=counts["total_tokens"],
        completion_tokens_details=construct(
            CompletionTokensDetails,
            accepted_prediction_tokens=0,
            audio_tokens=0,
            reasoning_tokens=counts["reasoning_tokens"],
            rejected_prediction_tokens=0,
        ),
    )
    if counts["cached_tokens"] is not None:
        made.prompt_tokens_details = construct(
            PromptTokensDetails, audio_tokens=0, cached_tokens=counts["cached_tokens"]
        )
    return made


@cache
def _stencil(*, cached: bool) -> bytes:
    names = ("completion_tokens", "prompt_tokens", "reasoning_tokens", "total_tokens")
    return stencil(
        _model(cached_tokens=hole("cached_tokens") if cached else None, **{name: hole(name) for name in names})
    )
