"""What choices gained -> chunks, where answers may call tools."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from specserve.backends.construct import construct
from specserve.backends.local.wire.chunks import ChatChunks
from specserve.generated.models import (
    ChatCompletionMessageToolCallChunk,
    ChatCompletionStreamFunctionCall,
    ChatCompletionStreamResponseDelta,
    CreateChatCompletionStreamResponse,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from specserve.backends.local.text.answer import Delta
    from specserve.backends.local.tools.formats.base import Event, Reader, ToolFormat
    from specserve.backends.local.tools.tools import Tools


class ToolChunks(ChatChunks):
    """Builds the chunks of a chat answer with tools: text beside calls as `ChatChunks` does, and the calls.

    Args:
        tools: The tools.
        form: How the model writes calls.
        *args: See `ChatChunks`.
    """

    def __init__(self, tools: Tools, form: ToolFormat, *args: Any) -> None:
        super().__init__(*args)
        self._tools = tools
        self._form = form.forced if tools.forced else form
        self._readers: dict[int, Reader] = {}
        self._begun: dict[int, int] = {}

    def begin(self, index: int) -> Iterator[CreateChatCompletionStreamResponse]:
        """The role."""
        self._readers[index] = self._form.reader(self._tools.allowed)
        self._begun[index] = 0
        content = None if self._tools.forced else ""
        role = construct(ChatCompletionStreamResponseDelta, role="assistant", content=content)
        yield self._chunk(index, role)

    def gained(self, delta: Delta) -> Iterator[CreateChatCompletionStreamResponse]:
        """The thoughts, the text and the calls, if any, and the end."""
        index, reader = delta.index, self._readers[delta.index]
        events = reader.push(delta.text)
        if delta.finish_reason:
            events += reader.flush()
        first = "".join(event.text for event in events[:1] if event.kind == "text" and not self._tools.forced)
        yield from super().gained(replace(delta, text=first, finish_reason=None))
        for event in events[1 if first else 0 :]:
            if event.kind != "text":
                yield from self._call_chunks(index, event)
            elif not self._tools.forced:
                yield self._chunk(index, construct(ChatCompletionStreamResponseDelta, content=event.text))
        if delta.finish_reason:
            called = delta.finish_reason == "stop" and self._begun[index] and self._tools.mode != "named"
            nothing = construct(ChatCompletionStreamResponseDelta)
            reason = "tool_calls" if called else delta.finish_reason
            yield self._chunk(index, nothing, finish_reason=reason)

    def text(self, index: int, text: str) -> None:
        """None: it may be part of a call."""

    def _call_chunks(self, index: int, event: Event) -> Iterator[CreateChatCompletionStreamResponse]:
        if event.kind == "call":
            self._begun[index] += 1
        number = self._begun[index] - 1
        if number and not self._tools.several:
            return
        if event.kind == "call":
            function = construct(ChatCompletionStreamFunctionCall, name=event.text, arguments="")
            part = construct(
                ChatCompletionMessageToolCallChunk,
                index=number,
                id=f"call_{secrets.token_hex(12)}",
                type="function",
                function=function,
            )
        else:
            function = construct(ChatCompletionStreamFunctionCall, arguments=event.text)
            part = construct(ChatCompletionMessageToolCallChunk, index=number, function=function)
        yield self._chunk(index, construct(ChatCompletionStreamResponseDelta, tool_calls=[part]))
