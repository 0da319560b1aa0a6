"""What choices gained -> the events of a stream, encoded, step by step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar, get_args

import orjson

from specserve.backends.base import EncodedEvents
from specserve.backends.construct import encode
from specserve.backends.local.text.answer import Delta
from specserve.backends.local.wire.stencil import placeholder, stencil
from specserve.backends.local.wire.usage import StreamUsage, usage_so_far
from specserve.generated.models import CompletionUsage, CreateChatCompletionStreamResponse, CreateCompletionResponse
from specserve.spec.sse import event

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from specserve.backends.base import Call
    from specserve.backends.local.text.usage import Usage
    from specserve.backends.local.wire.chunks import Chunks

Chunk = TypeVar("Chunk", CreateChatCompletionStreamResponse, CreateCompletionResponse)


@dataclass(frozen=True)
class EventStencils:
    """The events that nearly all streams of one model are made of; placeholders are `id`, `created`, `index`, `usage`.

    Attributes:
        begin: What a choice starts with.
        text: An event that says nothing but text: what stands before the text, after it, and after the usage if that is
            a placeholder.
        end: How a choice ends, with the placeholder `finish_reason`.
    """

    begin: bytes
    text: tuple[bytes, ...]
    end: bytes


def event_stencils(chunks: Chunks[Chunk]) -> dict[StreamUsage, EventStencils]:
    """Make them of the chunks that a builder makes for a call whose names are placeholders."""
    return {usage: _stencils(chunks, usage) for usage in get_args(StreamUsage)}


def _stencils(chunks: Chunks[Chunk], usage: StreamUsage) -> EventStencils:
    def events(made: Iterable[Chunk | None]) -> bytes:
        parts = []
        for chunk in made:
            if chunk is not None:
                if usage != "none":
                    chunk.usage = placeholder("usage") if usage == "each" else None
                parts.append(event(stencil(chunk)))
        return b"".join(parts)

    index = placeholder("index")
    text = events([chunks.text(index, placeholder("text"))]).replace(b"%(usage)b", b"%(text)b").split(b"%(text)b")
    end = events(chunks.gained(Delta(index, "", [], placeholder("finish_reason"))))
    return EventStencils(events(chunks.begin(index)), tuple(text), end)


class Events(Generic[Chunk]):
    """Encodes the chunks of one stream.

    Args:
        chunks: Builds them.
        call: The names that each carries.
        stencils: Of such chunks, with the same usage; None if what they say depends on the text.
        usage: Which of them carry the usage. If only the last one does, it is null in all others.
        prompt_tokens: What the usage so far says of the prompts.
    """

    def __init__(
        self,
        chunks: Chunks[Chunk],
        call: Call,
        stencils: EventStencils | None,
        usage: StreamUsage,
        prompt_tokens: int,
    ) -> None:
        self._chunks: Chunks[Chunk] = chunks
        self._stencils = stencils
        self._usage = usage
        self._prompt_tokens = prompt_tokens
        self._names = {b"id": orjson.dumps(call.id), b"created": b"%d" % call.created}
        self._texts: dict[int, list[bytes]] = {}  # of each choice that has begun, `EventStencils.text` filled in
        self._tokens: dict[int, int] = {}  # of each choice so far

    def gained(self, deltas: Sequence[Delta]) -> EncodedEvents:
        """All events of what choices gained together, to go out in one write."""
        parts: list[bytes] = []
        for delta in deltas:
            text = self._texts.get(delta.index) or self._begin(delta.index, parts)
            self._tokens[delta.index] = delta.completion_tokens
            if self._stencils is None or delta.scored or delta.thought:
                parts += map(self._event, self._chunks.gained(delta))
                continue
            if delta.text:
                parts += (text[0], orjson.dumps(delta.text), text[1])
                if self._usage == "each":
                    parts += (self._usage_json(), text[2])
            if delta.finish_reason:
                names = self._names_of(delta.index) | {b"finish_reason": orjson.dumps(delta.finish_reason)}
                parts.append(self._stencils.end % names)
        return EncodedEvents(b"".join(parts))

    def last(self, usage: Usage) -> EncodedEvents:
        """The event of the whole usage, which is empty for a client that did not ask for it."""
        data = b"" if self._usage == "none" else event(encode(self._chunks.usage(usage)))
        return EncodedEvents(data, usage.log_fields())

    def _begin(self, index: int, parts: list[bytes]) -> list[bytes]:
        """Begin a choice; returns the pieces around the text, and the usage, of an event that says nothing else."""
        if self._stencils is None:
            parts += map(self._event, self._chunks.begin(index))
            text = [b""]
        else:
            names = self._names_of(index)
            parts.append(self._stencils.begin % names)
            text = [piece % names for piece in self._stencils.text]
        self._texts[index] = text
        return text

    def _names_of(self, index: int) -> dict[bytes, bytes]:
        names = {**self._names, b"index": b"%d" % index}
        return names | {b"usage": self._usage_json()} if self._usage == "each" else names

    def _event(self, chunk: Chunk) -> bytes:
        if self._usage != "none":
            chunk.usage = self._usage_so_far() if self._usage == "each" else None
        return event(encode(chunk))

    def _usage_json(self) -> bytes:
        return encode(self._usage_so_far())

    def _usage_so_far(self) -> CompletionUsage:
        return usage_so_far(self._prompt_tokens, sum(self._tokens.values()))
