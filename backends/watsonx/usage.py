"""Counts of tokens as IBM tells them -> as the contract has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import structlog

from specserve.backends.construct import construct
from specserve.generated.models import CompletionTokensDetails, CompletionUsage, PromptTokensDetails


def make_usage(prompt_tokens: int, completion_tokens: int) -> CompletionUsage:
    """A usage of these counts."""
    return construct(
        CompletionUsage,
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        total_tokens=prompt_tokens + completion_tokens,
    )


def chat_usage(said: Any) -> CompletionUsage:
    """The usage of a chat answer. IBM may leave it out; then it is zeros, and the log says so."""
    if not isinstance(said, Mapping):
        structlog.get_logger("specserve.watsonx").warning("an answer without usage")
        said = {}
    usage = make_usage(count(said.get("prompt_tokens")), count(said.get("completion_tokens")))
    prompt, completion = said.get("prompt_tokens_details"), said.get("completion_tokens_details")
    if isinstance(prompt, Mapping) and "cached_tokens" in prompt:
        usage.prompt_tokens_details = construct(PromptTokensDetails, cached_tokens=count(prompt["cached_tokens"]))
    if isinstance(completion, Mapping) and "reasoning_tokens" in completion:
        usage.completion_tokens_details = construct(
            CompletionTokensDetails, reasoning_tokens=count(completion["reasoning_tokens"])
        )
    return usage


def count(said: Any) -> int:
    """A count, or 0 where there is none that makes sense."""
    return said if type(said) is int and 0 < said < 2**53 else 0
