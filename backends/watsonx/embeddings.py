"""Embedding requests as IBM wants them, and their answers."""

from __future__ import annotations

import base64
import struct
from math import isfinite
from typing import TYPE_CHECKING, Any

from specserve.backends.construct import construct
from specserve.backends.watsonx.usage import count
from specserve.generated.models import CreateEmbeddingResponse, Embedding, EmbeddingUsage
from specserve.spec.errors import UnsupportedValue, UpstreamBreach

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

PARAMETERS = frozenset({"encoding_format", "input", "model"})
MOST_INPUTS = 1000
"""Texts that IBM takes in one request."""


def batches(asked: Mapping[str, Any]) -> Iterator[list[str]]:
    """The texts to embed, in parts as large as IBM takes them.

    Raises:
        UnsupportedValue: They are token ids.
    """
    given = asked["input"]
    texts = [given] if isinstance(given, str) else given
    if not all(isinstance(text, str) for text in texts):
        raise UnsupportedValue("This model takes text, no token ids.", param="input")
    return (texts[at : at + MOST_INPUTS] for at in range(0, len(texts), MOST_INPUTS))


def read_vectors(answer: Mapping[str, Any], expected: int) -> tuple[list[list[float]], int]:
    """The vectors of a part, and how many tokens its texts had.

    Raises:
        UpstreamBreach: There are not as many as expected, or they are no vectors.
    """
    results = answer.get("results")
    if not isinstance(results, list) or len(results) != expected:
        raise UpstreamBreach("The service behind this model sent other vectors than were asked for.")
    try:
        vectors = [[float(number) for number in result["embedding"]] for result in results]
    except (KeyError, TypeError, ValueError, OverflowError):
        raise UpstreamBreach("The service behind this model sent vectors that are not understood.") from None
    if not all(isfinite(number) for vector in vectors for number in vector):
        raise UpstreamBreach("The service behind this model sent vectors that are not understood.")
    return vectors, count(answer.get("input_token_count"))


def embedding_response(
    model: str, vectors: Sequence[Sequence[float]], tokens: int, encoding_format: str
) -> CreateEmbeddingResponse:
    """The answer to the client."""
    data = [
        construct(
            Embedding,
            object="embedding",
            index=index,
            embedding=_base64(vector) if encoding_format == "base64" else list(vector),
        )
        for index, vector in enumerate(vectors)
    ]
    usage = construct(EmbeddingUsage, prompt_tokens=tokens, total_tokens=tokens)
    return construct(CreateEmbeddingResponse, object="list", model=model, data=data, usage=usage)


def _base64(vector: Sequence[float]) -> str:
    """Little-endian 32-bit floats, as the official client reads them."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
