"""IBM's answer to a chat request, whole or in events -> chunks as the contract has them.

A whole answer is read as a stream of one event. Repaired on the way are calls of functions without parameters, whose
arguments IBM leaves empty, and the reason why an answer with calls ended, which some models leave out or call ``stop``.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from specserve.backends.construct import construct
from specserve.backends.watsonx.logprobs import chat_logprobs
from specserve.backends.watsonx.usage import chat_usage
from specserve.generated.models import (
    ChatCompletionMessageToolCallChunk,
    ChatCompletionStreamChoice,
    ChatCompletionStreamFunctionCall,
    ChatCompletionStreamResponseDelta,
    CreateChatCompletionStreamResponse,
)
from specserve.spec.errors import BadGateway, UpstreamBreach, UpstreamUnreachable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from specserve.backends.base import Call

# IBM stops an answer after a time too; to the client that is another limit.
_REASONS = {
    "content_filter": "content_filter",
    "length": "length",
    "stop": "stop",
    "time_limit": "length",
    "tool_calls": "tool_calls",
}


@dataclass
class _ToolCall:
    """One call as it grows. `number` is its place among those of its message."""

    number: int
    has_arguments: bool = False


@dataclass
class _Choice:
    """One answer as it grows."""

    index: int
    calls: dict[int, _ToolCall] = field(default_factory=dict)
    ended: bool = False


class ChatAnswer:
    """Reads one answer.

    Args:
        call: Names that each chunk has.
        model: The id that the client knows.
        asked: The parameters that the client sent.
    """

    def __init__(self, call: Call, model: str, asked: Mapping[str, Any]) -> None:
        self._call = call
        self._model = model
        self._n: int = asked.get("n") or 1
        self._several: bool = asked.get("parallel_tool_calls", True)
        choice = asked.get("tool_choice")
        self._named = isinstance(choice, dict) and choice["type"] == "function"
        self._choices: dict[int, _Choice] = {}
        self._usage: Any = None

    def read(self, event: Mapping[str, Any]) -> Iterator[CreateChatCompletionStreamResponse]:
        """The chunks of an event, or of a whole answer.

        Raises:
            APIError: It says that the answer failed, or is not understood.
        """
        self._usage = event.get("usage") or self._usage
        for at, said in enumerate(_objects(event.get("choices"))):
            index = said.get("index", at)
            if type(index) is not int or not 0 <= index < self._n:
                raise UpstreamBreach("The service behind this model sent an answer that nobody asked for.")
            yield from self._gained(index, said)

    def end(self) -> Iterator[CreateChatCompletionStreamResponse]:
        """The last chunks, after the last event.

        Raises:
            UpstreamUnreachable: The answer broke off.
        """
        for choice in self._choices.values():
            if choice.calls and not choice.ended:
                yield from self._ended(choice, "tool_calls")
        if len(self._choices) < self._n or not all(choice.ended for choice in self._choices.values()):
            raise UpstreamUnreachable("The service behind this model broke off its answer.")
        chunk = self._of([])
        chunk.usage = chat_usage(self._usage)
        yield chunk

    def _gained(self, index: int, said: Mapping[str, Any]) -> Iterator[CreateChatCompletionStreamResponse]:
        choice = self._choices.get(index)
        if choice is None:
            choice = self._choices[index] = _Choice(index)
            yield self._chunk(index, role="assistant", content="")
        if choice.ended:
            return
        delta = said.get("delta") or said.get("message") or {}
        if delta.get("reasoning_content"):
            yield self._chunk(index, reasoning_content=text(delta["reasoning_content"]))
        scored = chat_logprobs(said.get("logprobs"))
        if delta.get("content") or scored is not None:
            yield self._chunk(index, logprobs=scored, content=text(delta.get("content") or ""))
        if delta.get("refusal"):
            yield self._chunk(index, refusal=text(delta["refusal"]))
        for at, part in enumerate(_objects(delta.get("tool_calls"))):
            yield from self._called(choice, part.get("index", at), part)
        if said.get("finish_reason"):
            yield from self._ended(choice, said["finish_reason"])

    def _called(
        self, choice: _Choice, key: int, part: Mapping[str, Any]
    ) -> Iterator[CreateChatCompletionStreamResponse]:
        """A call, or more of one. Where the client wants one call at most, the others are left out."""
        said = part.get("function") or {}
        call = choice.calls.get(key)
        if call is None:
            call = choice.calls[key] = _ToolCall(len(choice.calls))
            if self._wanted(call):
                function = construct(ChatCompletionStreamFunctionCall, name=text(said.get("name") or ""), arguments="")
                begun = construct(
                    ChatCompletionMessageToolCallChunk,
                    index=call.number,
                    id=text(part.get("id") or f"call_{secrets.token_hex(12)}"),
                    type="function",
                    function=function,
                )
                yield self._chunk(choice.index, tool_calls=[begun])
        if said.get("arguments"):
            call.has_arguments = True
            if self._wanted(call):
                yield self._arguments(choice, call, text(said["arguments"]))

    def _wanted(self, call: _ToolCall) -> bool:
        return self._several or call.number == 0

    def _arguments(self, choice: _Choice, call: _ToolCall, text: str) -> CreateChatCompletionStreamResponse:
        function = construct(ChatCompletionStreamFunctionCall, arguments=text)
        part = construct(ChatCompletionMessageToolCallChunk, index=call.number, function=function)
        return self._chunk(choice.index, tool_calls=[part])

    def _ended(self, choice: _Choice, reason: str) -> Iterator[CreateChatCompletionStreamResponse]:
        if reason == "error":
            raise BadGateway("The service behind this model failed while it answered.")
        if reason == "cancelled":
            raise UpstreamUnreachable("The service behind this model broke off its answer.")
        if reason not in _REASONS:
            raise UpstreamBreach("The service behind this model ended its answer in a way that is not understood.")
        for call in choice.calls.values():
            if not call.has_arguments and self._wanted(call):
                yield self._arguments(choice, call, "{}")
        ours = _REASONS[reason]
        if choice.calls and ours in {"stop", "tool_calls"}:
            ours = "stop" if self._named else "tool_calls"
        choice.ended = True
        yield self._chunk(choice.index, finish_reason=ours)

    def _chunk(
        self, index: int, *, logprobs: Any = None, finish_reason: Any = None, **delta: Any
    ) -> CreateChatCompletionStreamResponse:
        choice = construct(
            ChatCompletionStreamChoice,
            index=index,
            delta=construct(ChatCompletionStreamResponseDelta, **delta),
            logprobs=logprobs,
            finish_reason=finish_reason,
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


def text(said: Any) -> str:
    """What must be text.

    Raises:
        TypeError: It is something else.
    """
    if not isinstance(said, str):
        raise TypeError
    return said


def _objects(said: Any) -> list[dict[str, Any]]:
    """A list of objects, or nothing.

    Raises:
        UpstreamBreach: It is something else.
    """
    if said is None:
        return []
    if not isinstance(said, list) or not all(isinstance(item, dict) for item in said):
        raise UpstreamBreach("The service behind this model sent what is not understood.")
    return said
