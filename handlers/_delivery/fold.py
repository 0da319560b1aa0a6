"""The fold of a stream of chunks: the answer of a request that did not ask for a stream."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from specserve.backends.construct import construct
from specserve.generated.models import (
    ChatCompletionChoice,
    ChatCompletionChoiceLogprobs,
    ChatCompletionMessageToolCall,
    ChatCompletionMessageToolCallChunk,
    ChatCompletionMessageToolCallFunction,
    ChatCompletionResponseMessage,
    ChatCompletionStreamChoice,
    ChatCompletionTokenLogprob,
    CompletionChoice,
    CompletionLogprobs,
    CompletionUsage,
    CreateChatCompletionResponse,
    CreateChatCompletionStreamResponse,
    CreateCompletionResponse,
)


@dataclass
class _Call:
    """One call of a function as it grows."""

    call_id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)

    def add(self, part: ChatCompletionMessageToolCallChunk) -> None:
        self.call_id = part.id or self.call_id
        if part.function is not None:
            self.name = part.function.name or self.name
            self.arguments.append(part.function.arguments or "")

    def build(self) -> ChatCompletionMessageToolCall:
        function = construct(ChatCompletionMessageToolCallFunction, name=self.name, arguments="".join(self.arguments))
        return construct(ChatCompletionMessageToolCall, id=self.call_id, type="function", function=function)


@dataclass
class _ChatChoice:
    """One answer as it grows."""

    content: list[str] = field(default_factory=list)
    thoughts: list[str] = field(default_factory=list)
    calls: dict[int, _Call] = field(default_factory=dict)
    logprobs: list[ChatCompletionTokenLogprob] | None = None
    finish_reason: Any = None  # one of the literals of the chunks' own model

    def add(self, choice: ChatCompletionStreamChoice) -> None:
        if choice.delta.content is not None:
            self.content.append(choice.delta.content)
        if choice.delta.reasoning_content is not None:
            self.thoughts.append(choice.delta.reasoning_content)
        for part in choice.delta.tool_calls or ():
            self.calls.setdefault(part.index, _Call()).add(part)
        if choice.logprobs is not None:
            self.logprobs = (self.logprobs or []) + (choice.logprobs.content or [])
        if choice.finish_reason is not None:
            self.finish_reason = choice.finish_reason

    def build(self, index: int) -> ChatCompletionChoice:
        logprobs = None
        if self.logprobs is not None:
            logprobs = construct(ChatCompletionChoiceLogprobs, content=self.logprobs, refusal=None)
        content = "".join(self.content)
        message = construct(
            ChatCompletionResponseMessage,
            role="assistant",
            content=content if content or not self.calls else None,
            refusal=None,
        )
        if self.calls:
            message.tool_calls = [self.calls[at].build() for at in sorted(self.calls)]
        if self.thoughts:
            message.reasoning_content = "".join(self.thoughts)
        return construct(
            ChatCompletionChoice,
            index=index,
            message=message,
            logprobs=logprobs,
            finish_reason=self.finish_reason,
        )


class ChatFold:
    """Adds up the chunks of a chat answer."""

    def __init__(self) -> None:
        self._choices: dict[int, _ChatChoice] = {}
        self._usage: CompletionUsage | None = None
        self._last: CreateChatCompletionStreamResponse

    def add(self, chunk: CreateChatCompletionStreamResponse) -> None:
        """Take the next chunk."""
        self._last = chunk
        for choice in chunk.choices:
            self._choices.setdefault(choice.index, _ChatChoice()).add(choice)
        self._usage = chunk.usage or self._usage

    def build(self) -> CreateChatCompletionResponse:
        """The answer, when all chunks were taken."""
        return construct(
            CreateChatCompletionResponse,
            id=self._last.id,
            object="chat.completion",
            created=self._last.created,
            model=self._last.model,
            choices=[self._choices[index].build(index) for index in sorted(self._choices)],
            usage=self._usage,
        )


@dataclass
class _TextChoice:
    """One completion as it grows."""

    text: list[str] = field(default_factory=list)
    logprobs: CompletionLogprobs | None = None
    finish_reason: Any = None  # one of the literals of the chunks' own model

    def add(self, choice: CompletionChoice) -> None:
        self.text.append(choice.text)
        if choice.logprobs is not None:
            self.logprobs = _joined(self.logprobs, choice.logprobs)
        if choice.finish_reason is not None:
            self.finish_reason = choice.finish_reason

    def build(self, index: int) -> CompletionChoice:
        return construct(
            CompletionChoice,
            text="".join(self.text),
            index=index,
            logprobs=self.logprobs,
            finish_reason=self.finish_reason,
        )


def _joined(first: CompletionLogprobs | None, second: CompletionLogprobs) -> CompletionLogprobs:
    if first is None:
        return second
    joined: dict[str, Any] = {
        name: (getattr(first, name) or []) + (getattr(second, name) or [])
        for name in second.model_fields_set | first.model_fields_set
    }
    return construct(CompletionLogprobs, **joined)


class CompletionFold:
    """Adds up the chunks of a completion."""

    def __init__(self) -> None:
        self._choices: dict[int, _TextChoice] = {}
        self._usage: CompletionUsage | None = None
        self._last: CreateCompletionResponse

    def add(self, chunk: CreateCompletionResponse) -> None:
        """Take the next chunk."""
        self._last = chunk
        for choice in chunk.choices:
            self._choices.setdefault(choice.index, _TextChoice()).add(choice)
        self._usage = chunk.usage or self._usage

    def build(self) -> CreateCompletionResponse:
        """The answer, when all chunks were taken."""
        return construct(
            CreateCompletionResponse,
            id=self._last.id,
            object="text_completion",
            created=self._last.created,
            model=self._last.model,
            choices=[self._choices[index].build(index) for index in sorted(self._choices)],
            usage=self._usage,
        )
