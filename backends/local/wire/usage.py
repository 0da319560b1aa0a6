"""What a request took, as the contract has it."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from specserve.backends.construct import construct
from specserve.backends.local.wire.stencil import hole, stencil
from specserve.generated.models import CompletionTokensDetails, CompletionUsage, PromptTokensDetails

if TYPE_CHECKING:
    from specserve.backends.local.text.usage import Usage


def usage_model(usage: Usage) -> CompletionUsage:
    """The contract's model of a usage."""
    return _model(
        cached_tokens=usage.cached_tokens,
        completion_tokens=usage.completion_tokens,
        prompt_tokens=usage.prompt_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        total_tokens=usage.prompt_tokens + usage.completion_tokens,
    )


def usage_json(usage: Usage) -> bytes:
    """The JSON of `usage_model`."""
    return _stencil(cached=usage.cached_tokens is not None) % {
        b"cached_tokens": b"%d" % (usage.cached_tokens or 0),
        b"completion_tokens": b"%d" % usage.completion_tokens,
        b"prompt_tokens": b"%d" % usage.prompt_tokens,
        b"reasoning_tokens": b"%d" % usage.reasoning_tokens,
        b"total_tokens": b"%d" % (usage.prompt_tokens + usage.completion_tokens),
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
