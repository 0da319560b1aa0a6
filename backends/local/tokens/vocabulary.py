"""What an engine must know of the tokenizer to hold to a grammar: the bytes of each token, and nothing else."""

from __future__ import annotations

import base64
import itertools
from typing import TYPE_CHECKING, Any

from specserve.backends.local.marks import THINK_MARKS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from specserve.backends.local.engine import Tokenizer


def described(tokenizer: Tokenizer) -> dict[str, object]:
    """The bytes of all tokens as JSON can hold them."""
    pieces = [tokenizer.token_bytes(token_id) for token_id in range(tokenizer.size)]
    for text, token_id in tokenizer.control_tokens.items():
        if text in THINK_MARKS:  # grammars speak of these; what else has no bytes no grammar allows
            pieces[token_id] = text.encode()
    return {"bytes": base64.b64encode(b"".join(pieces)).decode(), "lengths": [len(piece) for piece in pieces]}


def pieces(vocabulary: Mapping[str, Any]) -> list[bytes]:
    """The bytes of each token out of what `described` made."""
    data, ends = base64.b64decode(vocabulary["bytes"]), list(itertools.accumulate(vocabulary["lengths"]))
    return [data[begin:end] for begin, end in zip([0, *ends[:-1]], ends, strict=True)]
