"""The fold of a stream of chunks: the answer of a request that did not ask for a stream.

It knows how chunks grow, not which fields they have: a field that a backend sets in its chunks is in the answer too.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from specserve.backends.construct import construct
from specserve.generated.models import (
    ChatCompletionChoice,
    ChatCompletionMessageToolCall,
    ChatCompletionMessageToolCallChunk,
    ChatCompletionMessageToolCallFunction,
    ChatCompletionResponseMessage,
    ChatCompletionStreamChoice,
    CompletionChoice,
    CreateChatCompletionResponse,
    CreateChatCompletionStreamResponse,
    CreateCompletionResponse,
)

_PIECES = frozenset({"arguments", "content", "reasoning_content", "refusal", "text"})
"""Fields of which each chunk has a piece. Of any other field the last value counts."""

_NESTED = frozenset({"choices", "delta", "function", "logprobs", "tool_calls"})
"""Fields whose parts are folded by themselves."""


class _Growing:
    """The fields of one object as its parts come."""

    def __init__(self) -> None:
        self._pieces: dict[str, list[str]] = {}
        self._last: dict[str, Any] = {}

    def add(self, part: BaseModel) -> None:
        values = vars(part)
        for name in part.model_fields_set:
            value = values[name]
            if value is None or name in _NESTED:
                continue
            if name in _PIECES:
                self._pieces.setdefault(name, []).append(value)
            else:
                self._last[name] = value

    def fields(self) -> dict[str, Any]:
        return {**self._last, **{name: "".join(pieces) for name, pieces in self._pieces.items()}}


class _Call:
    """One call of a function."""

    def __init__(self) -> None:
        self._call, self._function = _Growing(), _Growing()

    def add(self, part: ChatCompletionMessageToolCallChunk) -> None:
        self._call.add(part)
        if part.function is not None:
            self._function.add(part.function)

    def build(self) -> ChatCompletionMessageToolCall:
        function = construct(
            ChatCompletionMessageToolCallFunction, **{"name": "", "arguments": "", **self._function.fields()}
        )
        call = {"id": "", **self._call.fields(), "type": "function", "function": function}
        del call["index"]  # its place in the list
        return construct(ChatCompletionMessageToolCall, **call)


class _Choice:
    """One answer; of a completion, where there is no message."""

    def __init__(self) -> None:
        self._choice = _Growing()
        self._logprobs: BaseModel | None = None

    def add(self, choice: Any) -> None:
        self._choice.add(choice)
        if choice.logprobs is not None:
            self._logprobs = choice.logprobs if self._logprobs is None else _joined(self._logprobs, choice.logprobs)

    def build(self) -> BaseModel:
        fields = {"text": "", "finish_reason": None, **self._choice.fields(), "logprobs": self._logprobs}
        return construct(CompletionChoice, **fields)


class _ChatChoice(_Choice):
    """One answer of a chat."""

    def __init__(self) -> None:
        super().__init__()
        self._message = _Growing()
        self._calls: dict[int, _Call] = {}

    def add(self, choice: ChatCompletionStreamChoice) -> None:
        super().add(choice)
        self._message.add(choice.delta)
        for part in choice.delta.tool_calls or ():
            self._calls.setdefault(part.index, _Call()).add(part)

    def build(self) -> BaseModel:
        fields = {"content": "", "refusal": None, **self._message.fields(), "role": "assistant"}
        if self._calls:
            fields["tool_calls"] = [self._calls[at].build() for at in sorted(self._calls)]
            fields["content"] = fields["content"] or None
        message = construct(ChatCompletionResponseMessage, **fields)
        choice = {"finish_reason": None, **self._choice.fields(), "message": message, "logprobs": self._logprobs}
        return construct(ChatCompletionChoice, **choice)


class Fold:
    """Adds up the chunks of one answer."""

    _choice: type[_Choice]
    _answer: type[CreateChatCompletionResponse | CreateCompletionResponse]
    _object: str

    def __init__(self) -> None:
        self._fields = _Growing()
        self._choices: dict[int, _Choice] = {}

    def add(self, chunk: CreateChatCompletionStreamResponse | CreateCompletionResponse) -> None:
        """Take the next chunk."""
        self._fields.add(chunk)
        for part in chunk.choices:
            choice = self._choices.get(part.index)
            if choice is None:
                choice = self._choices[part.index] = self._choice()
            choice.add(part)

    def build(self) -> CreateChatCompletionResponse | CreateCompletionResponse:
        """The answer, when all chunks were taken."""
        known = self._answer.model_fields
        fields = {name: value for name, value in self._fields.fields().items() if name in known}
        fields["object"] = self._object
        fields["choices"] = [self._choices[index].build() for index in sorted(self._choices)]
        return construct(self._answer, **fields)


class ChatFold(Fold):
    """Adds up the chunks of a chat answer."""

    _choice = _ChatChoice
    _answer = CreateChatCompletionResponse
    _object = "chat.completion"


class CompletionFold(Fold):
    """Adds up the chunks of a completion."""

    _choice = _Choice
    _answer = CreateCompletionResponse
    _object = "text_completion"


def _joined(first: BaseModel, second: BaseModel) -> BaseModel:
    """Log-probabilities, of which each field is a list or null."""
    fields: dict[str, Any] = {}
    for name in first.model_fields_set | second.model_fields_set:
        before, after = getattr(first, name), getattr(second, name)
        fields[name] = before + after if before and after else before or after
    return construct(type(first), **fields)
