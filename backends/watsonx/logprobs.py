"""Log-probabilities as IBM tells them -> as the contract has them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from specserve.backends.construct import construct
from specserve.generated.models import (
    ChatCompletionChoiceLogprobs,
    ChatCompletionTokenLogprob,
    ChatCompletionTopLogprob,
    CompletionLogprobs,
)
from specserve.spec.errors import UpstreamBreach

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_LEAST = -9999.0
"""Stands for minus infinity, which JSON cannot say, as OpenAI has it."""

# How vocabularies write what begins a word and what ends a line: SentencePiece, byte-level BPE.
_SPELLING = str.maketrans({"▁": " ", "Ġ": " ", "Ċ": "\n"})


def chat_logprobs(said: Any) -> ChatCompletionChoiceLogprobs | None:
    """Those of a chat answer, which have OpenAI's form. None if there are none."""
    content = said.get("content") if isinstance(said, dict) else None
    if not content:
        return None
    try:
        tokens = [
            construct(
                ChatCompletionTokenLogprob,
                **_token(item),
                top_logprobs=[
                    construct(ChatCompletionTopLogprob, **_token(top)) for top in item.get("top_logprobs") or ()
                ],
            )
            for item in content
        ]
    except (AttributeError, KeyError, TypeError, ValueError):
        raise UpstreamBreach("The service behind this model sent log-probabilities that are not understood.") from None
    return construct(ChatCompletionChoiceLogprobs, content=tokens, refusal=None)


def _token(item: Mapping[str, Any]) -> dict[str, Any]:
    token, data = item["token"], item.get("bytes")
    if not isinstance(token, str):
        raise TypeError
    if not isinstance(data, list):
        data = list(token.encode(errors="replace"))
    return {"token": token, "logprob": _finite(item.get("logprob")), "bytes": [int(byte) for byte in data]}


def completion_logprobs(tokens: Sequence[Mapping[str, Any]], text: str, start: int) -> CompletionLogprobs:
    """Those of a completion, or of a piece of one.

    Args:
        tokens: As IBM has them: `text`, `logprob`, `top_tokens`.
        text: What they make up.
        start: Where it begins in the answer, in characters.
    """
    spelled = [_spelled(token) for token in tokens]
    return construct(
        CompletionLogprobs,
        tokens=spelled,
        token_logprobs=[_known(token.get("logprob")) for token in tokens],
        top_logprobs=[_top(token) for token in tokens],
        text_offset=[start + offset for offset in _offsets(spelled, text)],
    )


def _top(token: Mapping[str, Any]) -> dict[str, float] | None:
    """The likeliest tokens, the chosen one among them; None where nothing is known, as for a prompt's first token."""
    if _known(token.get("logprob")) is None:
        return None
    top = {_spelled(other): _finite(other.get("logprob")) for other in token.get("top_tokens") or ()}
    return top | {_spelled(token): _finite(token.get("logprob"))}


def _spelled(token: Mapping[str, Any]) -> str:
    return str(token.get("text") or "").translate(_SPELLING)


def _offsets(tokens: Iterable[str], text: str) -> list[int]:
    """Where each token begins. One that the text does not show, such as a control token, begins where the next does."""
    offsets, at = [], 0
    for token in tokens:
        if at == 0 and not text.startswith(token) and text.startswith(token.lstrip(" ")):
            token = token.lstrip(" ")  # noqa: PLW2901  the space before a text's first word is not shown
        offsets.append(at)
        if text.startswith(token, at):
            at += len(token)
    return offsets


def _known(logprob: Any) -> float | None:
    return None if logprob is None else _finite(logprob)


def _finite(logprob: Any) -> float:
    value = float(logprob) if isinstance(logprob, int | float) else _LEAST
    return max(_LEAST, value) if not math.isnan(value) else _LEAST
