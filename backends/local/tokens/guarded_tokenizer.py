"""Tells control tokens that a chat template wrote from text that looks like them (see `local/literal.py`)."""

from __future__ import annotations

import functools
import json
import re
import secrets
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    import tokenizers

_PRIVATE = 0x100000  # a plane of code points for private use
_PRIVATE_SIZE = 0xF000  # the guards are above it
_SECRET_LENGTH = 6
_SHORT = 4096  # characters that take a millisecond or two


class GuardedTokenizer:
    """The twin of a tokenizer that knows its special tokens by other names, which nobody can guess.

    What the template wrote is renamed and what a client wrote is not. Everything else is as in the original: splitting,
    normalising and merging see the same text around the same tokens.
    """

    def __init__(self, tokenizer: tokenizers.Tokenizer) -> None:
        self._tokenizer = tokenizer
        self.control_tokens: Mapping[str, int] = {
            added.content: token_id
            for token_id, added in tokenizer.get_added_tokens_decoder().items()
            if added.special and added.content
        }

    def encode(self, text: str, guard: str) -> list[int]:
        """See `Tokenizer.encode_guarded`."""
        names, pattern, twin = self._twin
        text = pattern.sub(lambda found: names[found[0]], text).replace(guard, "")
        return encoded(twin, text, add_special_tokens=False)

    @functools.cached_property
    def _twin(self) -> tuple[dict[str, str], re.Pattern[str], tokenizers.Tokenizer]:
        """Made when first needed: it takes memory, and most conversations never do."""
        import tokenizers

        prefix = "".join(chr(_PRIVATE + secrets.randbelow(_PRIVATE_SIZE)) for _ in range(_SECRET_LENGTH))
        names = {text: prefix + chr(_PRIVATE + at) for at, text in enumerate(self.control_tokens)}
        described = json.loads(self._tokenizer.to_str())
        for added in described["added_tokens"]:
            added["content"] = names.get(added["content"], added["content"])
        model = described["model"]
        model["vocab"] = _renamed(model["vocab"], names)
        if model.get("unk_token") in names:
            model["unk_token"] = names[model["unk_token"]]
        described["post_processor"] = None  # names special tokens, and adds none here
        longest_first = sorted(names, key=len, reverse=True)
        pattern = re.compile("|".join(map(re.escape, longest_first)) or "(?!)")
        return names, pattern, tokenizers.Tokenizer.from_str(json.dumps(described))


def encoded(tokenizer: tokenizers.Tokenizer, text: str, *, add_special_tokens: bool) -> list[int]:
    """Token ids of a text. Python's global lock is let go meanwhile, which the library does for batches only."""
    ids: list[int]
    if len(text) < _SHORT:
        ids = tokenizer.encode(text, add_special_tokens=add_special_tokens).ids
    else:
        ids = tokenizer.encode_batch_fast([text], add_special_tokens=add_special_tokens)[0].ids
    return ids


def _renamed(vocabulary: Any, names: Mapping[str, str]) -> Any:
    if isinstance(vocabulary, dict):
        return {names.get(token, token): token_id for token, token_id in vocabulary.items()}
    return [[names.get(token, token), score] for token, score in vocabulary]  # a unigram model's
