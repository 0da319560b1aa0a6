"""Scored tokens -> the log-probabilities of an answer."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from specserve.backends.construct import construct
from specserve.generated.models import (
    ChatCompletionChoiceLogprobs,
    ChatCompletionTokenLogprob,
    ChatCompletionTopLogprob,
    CompletionLogprobs,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from specserve.backends.local.engine import Tokenizer
    from specserve.backends.local.text.answer import ScoredToken

_LEAST_LOGPROB = -9999.0
"""Stands for minus infinity, which JSON cannot say, as OpenAI has it."""


class LogprobBuilder:
    """Builds them, with the text of each token as OpenAI spells it, for one model."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def chat(self, tokens: Sequence[ScoredToken]) -> ChatCompletionChoiceLogprobs:
        """Tokens of a chat answer."""
        return construct(ChatCompletionChoiceLogprobs, content=[self._chat(token) for token in tokens], refusal=None)

    def completion(self, tokens: Sequence[ScoredToken]) -> CompletionLogprobs:
        """Tokens of a completion."""
        return construct(
            CompletionLogprobs,
            tokens=[self._prefixed(token.token_id) for token in tokens],
            token_logprobs=[None if token.logprob is None else _finite(token.logprob) for token in tokens],
            top_logprobs=[self._top(token) for token in tokens],
            text_offset=[token.start for token in tokens],
        )

    def _chat(self, token: ScoredToken) -> ChatCompletionTokenLogprob:
        text, data = self._spelled(token.token_id)
        alternatives = []
        for token_id, logprob in token.alternatives:
            its_text, its_data = self._spelled(token_id)
            alternatives.append(
                construct(ChatCompletionTopLogprob, token=its_text, logprob=_finite(logprob), bytes=its_data)
            )
        return construct(
            ChatCompletionTokenLogprob,
            token=text,
            logprob=_finite(token.logprob),
            bytes=data,
            top_logprobs=alternatives,
        )

    def _top(self, token: ScoredToken) -> dict[str, float] | None:
        """The likeliest tokens; the chosen one is always among them, so there may be one more than was asked for."""
        if token.logprob is None:
            return None
        top: dict[str, float] = {}
        for token_id, logprob in token.alternatives:
            top.setdefault(self._prefixed(token_id), _finite(logprob))  # of those spelled alike the likeliest
        return top | {self._prefixed(token.token_id): _finite(token.logprob)}

    @cached_property
    def _names(self) -> dict[int, str]:
        return {token_id: name for name, token_id in self._tokenizer.control_tokens.items()}

    def _spelled(self, token_id: int) -> tuple[str, list[int] | None]:
        r"""A token's text and bytes.

        Parts of a character are spelled as OpenAI does, ``\xf0\x9f``, so that they stay apart; a control token has its
        name, and no bytes.
        """
        data = self._tokenizer.token_bytes(token_id)
        if not data:
            return self._names.get(token_id, ""), None
        try:
            return data.decode(), list(data)
        except UnicodeDecodeError:
            return "".join(f"\\x{byte:02x}" for byte in data), list(data)

    def _prefixed(self, token_id: int) -> str:
        """As `_spelled`, but parts of a character begin with ``bytes:``, as OpenAI's completions have them."""
        text, data = self._spelled(token_id)
        return f"bytes:{text}" if text.startswith("\\x") and data and ord("\\") not in data else text


def _finite(logprob: float | None) -> float:
    return _LEAST_LOGPROB if logprob is None else max(_LEAST_LOGPROB, logprob)  # so not-a-number becomes it too
