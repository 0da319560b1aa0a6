"""What a request took, as the contract has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from specserve.backends.construct import construct
from specserve.generated.models import CompletionTokensDetails, CompletionUsage, PromptTokensDetails

if TYPE_CHECKING:
    from specserve.backends.local.text.usage import Usage

StreamUsage = Literal["none", "last", "each"]
"""Which chunks of a stream carry the usage: none, the last alone, or each, with the usage so far."""


def usage_so_far(prompt_tokens: int, completion_tokens: int) -> CompletionUsage:
    """The usage of an answer that is not complete."""
    return construct(
        CompletionUsage,
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        total_tokens=prompt_tokens + completion_tokens,
    )


def usage_model(usage: Usage) -> CompletionUsage:
    """The contract's model of a usage."""
    model = construct(
        CompletionUsage,
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        total_tokens=usage.prompt_tokens + usage.completion_tokens,
        completion_tokens_details=construct(
            CompletionTokensDetails,
            accepted_prediction_tokens=0,
            audio_tokens=0,
            reasoning_tokens=usage.reasoning_tokens,
            rejected_prediction_tokens=0,
        ),
    )
    if usage.cached_tokens is not None:
        model.prompt_tokens_details = construct(PromptTokensDetails, audio_tokens=0, cached_tokens=usage.cached_tokens)
    return model
