"""Log-probabilities in the form of the other operation, which some servers mix up."""

from __future__ import annotations

from itertools import zip_longest
from typing import Any


def as_text_logprobs(content: list[Any], offset: int) -> dict[str, Any]:
    """Make a completion's lists of a chat's entries.

    Args:
        content: The entries, token by token.
        offset: Where the first token begins in the text, in characters.
    """
    tokens: list[Any] = []
    offsets: list[int] = []
    for entry in content:
        token = entry.get("token") if isinstance(entry, dict) else None
        tokens.append(token)
        offsets.append(offset)
        offset += len(token) if isinstance(token, str) else 0
    return {
        "tokens": tokens,
        "token_logprobs": [_of(entry, "logprob") for entry in content],
        "top_logprobs": [
            {str(_of(rival, "token")): _of(rival, "logprob") for rival in _listed(_of(entry, "top_logprobs"))}
            for entry in content
        ],
        "text_offset": offsets,
    }


def as_chat_logprobs(logprobs: dict[str, Any]) -> dict[str, Any]:
    """Make a chat's entries of a completion's lists; what they lack is added later."""
    content = []
    for token, logprob, rivals in zip_longest(
        logprobs["tokens"], _listed(logprobs.get("token_logprobs")), _listed(logprobs.get("top_logprobs"))
    ):
        others = rivals.items() if isinstance(rivals, dict) else ()
        top = [{"token": name, "logprob": value} for name, value in others]
        content.append({"token": token, "logprob": logprob, "top_logprobs": top})
    return {"content": content}


def _of(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
