"""What choices gained -> chunks as OpenAI sends them.

One chunk for each choice and engine step, then one with its `finish_reason`, in the end one with the usage. Only
fields that are set go out (see `Chats.chat`), so each chunk sets all that OpenAI's chunks have, nulls included; but
not `usage`, whose presence depends on what the client asked for. Plain answers are the fold of the same chunks, so a
new field of responses is added here and nowhere else.
"""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol, TypeVar

from specserve.backends.construct import construct
from specserve.backends.local.wire.usage import usage_model
from specserve.generated.models import (
    ChatCompletionChoiceLogprobs,
    ChatCompletionStreamChoice,
    ChatCompletionStreamResponseDelta,
    CompletionChoice,
    CompletionLogprobs,
    CreateChatCompletionStreamResponse,
    CreateCompletionResponse,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Literal

    from specserve.backends.base import Call
    from specserve.backends.local.text.answer import Delta
    from specserve.backends.local.text.generation import Generation
    from specserve.backends.local.text.usage import Usage
    from specserve.backends.local.wire.logprobs import LogprobBuilder

ChunkT = TypeVar("ChunkT")
ChunkT_co = TypeVar("ChunkT_co", covariant=True)


class Chunks(Protocol[ChunkT_co]):
    """Builds the chunks of one answer."""

    def begin(self, index: int) -> Iterator[ChunkT_co]:
        """What a choice starts with."""

    def gained(self, delta: Delta) -> Iterator[ChunkT_co]:
        """What a choice gained."""

    def text(self, index: int, text: str) -> ChunkT_co | None:
        """What `gained` makes of text and nothing else; None if that depends on the text."""

    def usage(self, usage: Usage) -> ChunkT_co:
        """The last chunk."""


class ChatChunks:
    """Builds the chunks of a chat answer."""

    def __init__(self, call: Call, model: str, logprobs: LogprobBuilder) -> None:
        self._call = call
        self._model = model
        self._logprobs = logprobs

    def begin(self, index: int) -> Iterator[CreateChatCompletionStreamResponse]:
        """The role."""
        yield self._chunk(index, construct(ChatCompletionStreamResponseDelta, role="assistant", content=""))

    def gained(self, delta: Delta) -> Iterator[CreateChatCompletionStreamResponse]:
        """The thoughts and the text, if any, and the end."""
        if delta.thought:
            thought = construct(ChatCompletionStreamResponseDelta, reasoning_content=delta.thought)
            yield self._chunk(delta.index, thought)
        if delta.scored:
            yield self._text(delta.index, delta.text, self._logprobs.chat(delta.scored))
        elif delta.text:
            yield self._text(delta.index, delta.text)
        if delta.finish_reason:
            nothing = construct(ChatCompletionStreamResponseDelta)
            yield self._chunk(delta.index, nothing, finish_reason=delta.finish_reason)

    def text(self, index: int, text: str) -> CreateChatCompletionStreamResponse | None:
        """See `Chunks`."""
        return self._text(index, text)

    def usage(self, usage: Usage) -> CreateChatCompletionStreamResponse:
        """The usage."""
        chunk = self._of([])
        chunk.usage = usage_model(usage)
        return chunk

    def _text(
        self, index: int, text: str, logprobs: ChatCompletionChoiceLogprobs | None = None
    ) -> CreateChatCompletionStreamResponse:
        return self._chunk(index, construct(ChatCompletionStreamResponseDelta, content=text), logprobs)

    def _chunk(
        self,
        index: int,
        delta: ChatCompletionStreamResponseDelta,
        logprobs: ChatCompletionChoiceLogprobs | None = None,
        finish_reason: Literal["stop", "length", "tool_calls"] | None = None,
    ) -> CreateChatCompletionStreamResponse:
        choice = construct(
            ChatCompletionStreamChoice, index=index, delta=delta, logprobs=logprobs, finish_reason=finish_reason
        )
        return self._of([choice])

    def _of(self, choices: list[ChatCompletionStreamChoice]) -> CreateChatCompletionStreamResponse:
        return construct(
            CreateChatCompletionStreamResponse,
            id=self._call.id,
            object="chat.completion.chunk",
            created=self._call.created,
            model=self._model,
            choices=choices,
        )


class CompletionChunks:
    """Builds the chunks of a completion."""

    def __init__(self, call: Call, model: str, logprobs: LogprobBuilder) -> None:
        self._call = call
        self._model = model
        self._logprobs = logprobs

    def begin(self, index: int) -> Iterator[CreateCompletionResponse]:
        """Nothing."""
        return iter(())

    def gained(self, delta: Delta) -> Iterator[CreateCompletionResponse]:
        """The text, if any, and the end."""
        if delta.text or delta.scored:
            logprobs = self._logprobs.completion(delta.scored) if delta.scored else None
            yield self._chunk(delta.index, delta.text, logprobs)
        if delta.finish_reason:
            yield self._chunk(delta.index, "", finish_reason=delta.finish_reason)

    def text(self, index: int, text: str) -> CreateCompletionResponse:
        """See `Chunks`."""
        return self._chunk(index, text)

    def usage(self, usage: Usage) -> CreateCompletionResponse:
        """The usage."""
        chunk = self._of([])
        chunk.usage = usage_model(usage)
        return chunk

    def _chunk(
        self,
        index: int,
        text: str,
        logprobs: CompletionLogprobs | None = None,
        finish_reason: Literal["stop", "length"] | None = None,
    ) -> CreateCompletionResponse:
        choice = construct(CompletionChoice, index=index, text=text, logprobs=logprobs, finish_reason=finish_reason)
        return self._of([choice])

    def _of(self, choices: list[CompletionChoice]) -> CreateCompletionResponse:
        return construct(
            CreateCompletionResponse,
            id=self._call.id,
            object="text_completion",
            created=self._call.created,
            model=self._model,
            choices=choices,
        )


async def chunks_of_whole(generation: Generation, chunks: Chunks[ChunkT]) -> list[ChunkT]:
    """The chunks of an answer, when it is complete: all that a choice gained in as few as can be."""
    gained: dict[int, list[Delta]] = {}
    async with aclosing(generation.steps()) as steps:
        async for deltas in steps:
            for delta in deltas:
                gained.setdefault(delta.index, []).append(delta)
    found: list[ChunkT] = []
    for index in sorted(gained):
        found += chunks.begin(index)
        found += chunks.gained(_joined(gained[index]))
    found.append(chunks.usage(generation.usage()))
    return found


def _joined(deltas: Sequence[Delta]) -> Delta:
    if len(deltas) == 1:
        return deltas[0]
    return replace(
        deltas[-1],
        text="".join(delta.text for delta in deltas),
        scored=[token for delta in deltas for token in delta.scored],
        thought="".join(delta.thought for delta in deltas),
    )
