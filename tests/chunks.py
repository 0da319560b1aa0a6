"""The chunks that a local backend's items are, for tests that look at each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from specserve.backends.base import Accepted, EncodedAnswer, EncodedEvents
from specserve.spec.sse import parse

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

STREAM = {"stream": True, "stream_options": {"include_usage": True}}
"""What a request has so that its chunks come as the engine's steps do."""


def chunks_in(items: list[Any]) -> list[dict[str, Any]]:
    """The JSON of each chunk, or of the answer; where its `usage` is null, as in all but the last, without it."""
    found: list[dict[str, Any]] = []
    for item in items:
        if isinstance(item, EncodedEvents):
            found += [orjson.loads(event.data) for event in parse(item.data)]
        elif isinstance(item, EncodedAnswer):
            found.append(orjson.loads(item.data))
        elif not isinstance(item, Accepted):
            found.append(item.model_dump(mode="json", exclude_unset=True))
    return [{name: value for name, value in chunk.items() if (name, value) != ("usage", None)} for chunk in found]


async def first_chunk(items: AsyncGenerator[Any, None]) -> Any:
    """The first item that goes out."""
    while isinstance(item := await anext(items), Accepted):
        pass
    return item
