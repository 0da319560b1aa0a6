"""What choices gained -> the events of a stream, encoded, step by step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

import orjson

from specserve.backends.base import EncodedEvents
from specserve.backends.construct import encode
from specserve.backends.local.text.answer import Delta
from specserve.backends.local.wire.stencil import placeholder, stencil
from specserve.generated.models import CreateChatCompletionStreamResponse, CreateCompletionResponse
from specserve.spec.sse import event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from specserve.backends.base import Call
    from specserve.backends.local.text.usage import Usage
    from specserve.backends.local.wire.chunks import Chunks

Chunk = TypeVar("Chunk", CreateChatCompletionStreamResponse, CreateCompletionResponse)


@dataclass(frozen=True)
class EventStencils:
    """The events that nearly all streams of one model are made of; placeholders are `id`, `created` and `index`.

    Attributes:
        begin: What a choice starts with.
        before: An event that says nothing but text, up to the text.
        after: What follows it.
        end: How a choice ends, with the placeholder `finish_reason`.
    """

    begin: bytes
    before: bytes
    after: bytes
    end: bytes


def event_stencils(chunks: Chunks[Chunk]) -> dict[bool, EventStencils]:
    """Make them of the chunks that a builder makes for a call whose names are placeholders.

    Returns:
        Those of a stream with usage as True, else as False; see `Events`.
    """
    return {include_usage: _stencils(chunks, include_usage=include_usage) for include_usage in (False, True)}


def _stencils(chunks: Chunks[Chunk], *, include_usage: bool) -> EventStencils:
    def events(made: Iterable[Chunk | None]) -> bytes:
        return b"".join(_event(chunk, stencil, include_usage=include_usage) for chunk in made if chunk)

    index = placeholder("index")
    before, _, after = events([chunks.text(index, placeholder("text"))]).partition(b"%(text)b")
    end = events(chunks.gained(Delta(index, "", [], placeholder("finish_reason"))))
    return EventStencils(events(chunks.begin(index)), before, after, end)


class Events(Generic[Chunk]):
    """Encodes the chunks of one stream.

    Args:
        chunks: Builds them.
        call: The names that each carries.
        stencils: Of such chunks; None if what they say depends on the text.
        include_usage: Whether the client asked for the usage: then it is in the last chunk, and null in all others.
    """

    def __init__(
        self, chunks: Chunks[Chunk], call: Call, stencils: EventStencils | None, *, include_usage: bool
    ) -> None:
        self._chunks: Chunks[Chunk] = chunks
        self._stencils = stencils
        self._include_usage = include_usage
        self._names = {b"id": orjson.dumps(call.id), b"created": b"%d" % call.created}
        self._around: dict[int, tuple[bytes, bytes]] = {}

    def gained(self, deltas: Sequence[Delta]) -> EncodedEvents:
        """All events of what choices gained together, to go out in one write."""
        parts: list[bytes] = []
        for delta in deltas:
            around = self._around.get(delta.index) or self._begin(delta.index, parts)
            if self._stencils is None or delta.scored or delta.thought:
                parts += map(self._event, self._chunks.gained(delta))
                continue
            if delta.text:
                parts += (around[0], orjson.dumps(delta.text), around[1])
            if delta.finish_reason:
                end = {b"index": b"%d" % delta.index, b"finish_reason": orjson.dumps(delta.finish_reason)}
                parts.append(self._stencils.end % (self._names | end))
        return EncodedEvents(b"".join(parts))

    def usage(self, usage: Usage) -> EncodedEvents:
        """The last event, which is empty for a client that did not ask for it."""
        data = event(encode(self._chunks.usage(usage))) if self._include_usage else b""
        return EncodedEvents(data, usage.log_fields())

    def _begin(self, index: int, parts: list[bytes]) -> tuple[bytes, bytes]:
        """Begin a choice; returns the bytes around the text of an event that says nothing else."""
        if self._stencils is None:
            parts += map(self._event, self._chunks.begin(index))
            around = (b"", b"")
        else:
            names = {**self._names, b"index": b"%d" % index}
            parts.append(self._stencils.begin % names)
            around = (self._stencils.before % names, self._stencils.after % names)
        self._around[index] = around
        return around

    def _event(self, chunk: Chunk) -> bytes:
        return _event(chunk, encode, include_usage=self._include_usage)


def _event(chunk: Chunk, encoded: Callable[[Chunk], bytes], *, include_usage: bool) -> bytes:
    if include_usage:
        chunk.usage = None
    return event(encoded(chunk))
