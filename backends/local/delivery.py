"""How what choices gained leaves the backend: encoded events step by step for a stream, else all at the end.

Nearly all chunks of a stream are the same but for their text. One is made of the contract's model and encoded; in the
bytes of the others only the text is another.
"""

from __future__ import annotations

import secrets
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Generic, TypeVar

import orjson

from specserve.backends.base import EncodedEvents
from specserve.backends.construct import encode
from specserve.generated.models import CreateChatCompletionStreamResponse, CreateCompletionResponse

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from specserve.backends.local.answer import Delta
    from specserve.backends.local.chunks import Chunks
    from specserve.backends.local.generation import Generation
    from specserve.backends.local.usage import Usage

Chunk = TypeVar("Chunk", CreateChatCompletionStreamResponse, CreateCompletionResponse)

_MARK = secrets.token_hex(16)
_BEFORE, _AFTER = b"data: ", b"\n\n"


async def streamed(
    generation: Generation, chunks: Chunks[Chunk], *, include_usage: bool
) -> AsyncGenerator[EncodedEvents, None]:
    """The events of an answer, those of one step together; see `Events`."""
    events = Events(chunks, include_usage=include_usage)
    async with aclosing(generation.steps()) as steps:
        async for deltas in steps:
            yield events.gained(deltas)
    yield events.usage(generation.usage())


async def whole(generation: Generation) -> list[Delta]:
    """All that each choice gained, in the order of the choices, when the answer is complete."""
    gained: dict[int, list[Delta]] = {}
    async with aclosing(generation.steps()) as steps:
        async for deltas in steps:
            for delta in deltas:
                gained.setdefault(delta.index, []).append(delta)
    return [_joined(gained[index]) for index in sorted(gained)]


async def whole_chunks(generation: Generation, chunks: Chunks[Chunk]) -> list[Chunk]:
    """The chunks of an answer, when it is complete: all text of a choice in one."""
    found: list[Chunk] = []
    for delta in await whole(generation):
        found += chunks.begin(delta.index)
        found += chunks.gained(delta)
    found.append(chunks.usage(generation.usage()))
    return found


class Events(Generic[Chunk]):
    """Encodes the chunks of one stream.

    Args:
        chunks: Builds them.
        include_usage: Whether the client asked for the usage: then it is in the last chunk, and null in all others.
    """

    def __init__(self, chunks: Chunks[Chunk], *, include_usage: bool) -> None:
        self._chunks: Chunks[Chunk] = chunks
        self._include_usage = include_usage
        self._around: dict[int, tuple[bytes, bytes] | None] = {}

    def gained(self, deltas: Sequence[Delta]) -> EncodedEvents:
        """All events of what choices gained together, to go out in one write."""
        parts: list[bytes] = []
        for delta in deltas:
            index = delta.index
            if index not in self._around:
                parts += map(self._event, self._chunks.begin(index))
                self._around[index] = self._around_text(index)
            around = self._around[index]
            if around is None or delta.scored or delta.thought:
                parts += map(self._event, self._chunks.gained(delta))
                continue
            if delta.text:
                parts += (around[0], orjson.dumps(delta.text), around[1])
            if delta.finish_reason:
                parts += map(self._event, self._chunks.gained(replace(delta, text="")))
        return EncodedEvents(b"".join(parts))

    def usage(self, usage: Usage) -> EncodedEvents:
        """The last event, which those who did not ask do not get."""
        data = _encoded(self._chunks.usage(usage)) if self._include_usage else b""
        return EncodedEvents(data, usage.told())

    def _event(self, chunk: Chunk) -> bytes:
        if self._include_usage:
            chunk.usage = None
        return _encoded(chunk)

    def _around_text(self, index: int) -> tuple[bytes, bytes] | None:
        """The bytes around the text of an event that says nothing else."""
        chunk = self._chunks.text(index, _MARK)
        if chunk is None:
            return None
        before, _, after = self._event(chunk).partition(orjson.dumps(_MARK))
        return before, after


def _joined(deltas: Sequence[Delta]) -> Delta:
    if len(deltas) == 1:
        return deltas[0]
    return replace(
        deltas[-1],
        text="".join(delta.text for delta in deltas),
        scored=[token for delta in deltas for token in delta.scored],
        thought="".join(delta.thought for delta in deltas),
    )


def _encoded(chunk: CreateChatCompletionStreamResponse | CreateCompletionResponse) -> bytes:
    return _BEFORE + encode(chunk) + _AFTER
