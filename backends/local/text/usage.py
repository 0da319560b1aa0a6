"""What a request took, in tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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

    def log_fields(self) -> Mapping[str, Any]:
        """What the request's log line says of it."""
        return {"prompt_tokens": self.prompt_tokens, "completion_tokens": self.completion_tokens}
