"""What choices gained -> chunks as OpenAI sends them.

One chunk for each choice and engine step, then one with its `finish_reason`, in the end one with the usage. Only
fields that are set go out (see `Backend.chat`), so each chunk sets all that OpenAI's chunks have, nulls included; but
not `usage`, whose presence the handler decides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

from specserve.generated.models import (
    ChatCompletionChoiceLogprobs,
    ChatCompletionStreamChoice,
    ChatCompletionStreamResponseDelta,
    ChatCompletionTokenLogprob,
    ChatCompletionTopLogprob,
    CompletionChoice,
    CompletionLogprobs,
    CompletionTokensDetails,
    CompletionUsage,
    CreateChatCompletionStreamResponse,
    CreateCompletionResponse,
    PromptTokensDetails,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Literal

    from specserve.backends.base import Call
    from specserve.backends.local.answer import Delta, ScoredToken
    from specserve.backends.local.generation import Usage

ChunkT_co = TypeVar("ChunkT_co", covariant=True)

_LEAST_LOGPROB = -9999.0
"""Stands for minus infinity, which JSON cannot say, as OpenAI has it."""


class Chunks(Protocol[ChunkT_co]):
    """Builds the chunks of one answer."""

    def begin(self, index: int) -> Iterator[ChunkT_co]:
        """What a choice starts with."""

    def gained(self, delta: Delta) -> Iterator[ChunkT_co]:
        """What a choice gained."""

    def usage(self, usage: Usage) -> ChunkT_co:
        """The last chunk."""


class ChatChunks:
    """Builds the chunks of a chat answer."""

    def __init__(self, call: Call, model: str) -> None:
        self._call = call
        self._model = model

    def begin(self, index: int) -> Iterator[CreateChatCompletionStreamResponse]:
        """The role."""
        yield self._chunk(index, ChatCompletionStreamResponseDelta.model_construct(role="assistant", content=""))

    def gained(self, delta: Delta) -> Iterator[CreateChatCompletionStreamResponse]:
        """The thoughts and the text, if any, and the end."""
        if delta.thought:
            thought = ChatCompletionStreamResponseDelta.model_construct(reasoning_content=delta.thought)
            yield self._chunk(delta.index, thought)
        if delta.text or delta.scored:
            logprobs = None
            if delta.scored:
                content = [_chat_logprob(token) for token in delta.scored]
                logprobs = ChatCompletionChoiceLogprobs.model_construct(content=content, refusal=None)
            gain = ChatCompletionStreamResponseDelta.model_construct(content=delta.text)
            yield self._chunk(delta.index, gain, logprobs)
        if delta.finish_reason:
            nothing = ChatCompletionStreamResponseDelta.model_construct()
            yield self._chunk(delta.index, nothing, finish_reason=delta.finish_reason)

    def usage(self, usage: Usage) -> CreateChatCompletionStreamResponse:
        """The usage."""
        chunk = self._of([])
        chunk.usage = _usage(usage)
        return chunk

    def _chunk(
        self,
        index: int,
        delta: ChatCompletionStreamResponseDelta,
        logprobs: ChatCompletionChoiceLogprobs | None = None,
        finish_reason: Literal["stop", "length"] | None = None,
    ) -> CreateChatCompletionStreamResponse:
        choice = ChatCompletionStreamChoice.model_construct(
            index=index, delta=delta, logprobs=logprobs, finish_reason=finish_reason
        )
        return self._of([choice])

    def _of(self, choices: list[ChatCompletionStreamChoice]) -> CreateChatCompletionStreamResponse:
        return CreateChatCompletionStreamResponse.model_construct(
            id=self._call.id,
            object="chat.completion.chunk",
            created=self._call.created,
            model=self._model,
            choices=choices,
        )


class CompletionChunks:
    """Builds the chunks of a completion.

    Args:
        call: What every chunk carries.
        model: The model's id.
        echoed: For each choice, text to begin with; or empty.
    """

    def __init__(self, call: Call, model: str, echoed: Sequence[str] = ()) -> None:
        self._call = call
        self._model = model
        self._echoed = echoed

    def begin(self, index: int) -> Iterator[CreateCompletionResponse]:
        """The echo of the prompt, if asked for."""
        if self._echoed:
            yield self._chunk(index, self._echoed[index])

    def gained(self, delta: Delta) -> Iterator[CreateCompletionResponse]:
        """The text, if any, and the end."""
        if delta.text or delta.scored:
            yield self._chunk(delta.index, delta.text, _completion_logprobs(delta.scored) if delta.scored else None)
        if delta.finish_reason:
            yield self._chunk(delta.index, "", finish_reason=delta.finish_reason)

    def usage(self, usage: Usage) -> CreateCompletionResponse:
        """The usage."""
        chunk = self._of([])
        chunk.usage = _usage(usage)
        return chunk

    def _chunk(
        self,
        index: int,
        text: str,
        logprobs: CompletionLogprobs | None = None,
        finish_reason: Literal["stop", "length"] | None = None,
    ) -> CreateCompletionResponse:
        choice = CompletionChoice.model_construct(
            index=index, text=text, logprobs=logprobs, finish_reason=finish_reason
        )
        return self._of([choice])

    def _of(self, choices: list[CompletionChoice]) -> CreateCompletionResponse:
        return CreateCompletionResponse.model_construct(
            id=self._call.id,
            object="text_completion",
            created=self._call.created,
            model=self._model,
            choices=choices,
        )


def _usage(usage: Usage) -> CompletionUsage:
    made = CompletionUsage.model_construct(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        total_tokens=usage.prompt_tokens + usage.completion_tokens,
        completion_tokens_details=CompletionTokensDetails.model_construct(
            accepted_prediction_tokens=0,
            audio_tokens=0,
            reasoning_tokens=usage.reasoning_tokens,
            rejected_prediction_tokens=0,
        ),
    )
    if usage.cached_tokens is not None:
        made.prompt_tokens_details = PromptTokensDetails.model_construct(
            audio_tokens=0, cached_tokens=usage.cached_tokens
        )
    return made


def _chat_logprob(token: ScoredToken) -> ChatCompletionTokenLogprob:
    return ChatCompletionTokenLogprob.model_construct(
        token=_spelled(token.data),
        logprob=_finite(token.logprob),
        bytes=list(token.data) or None,
        top_logprobs=[
            ChatCompletionTopLogprob.model_construct(
                token=_spelled(data), logprob=_finite(logprob), bytes=list(data) or None
            )
            for data, logprob in token.alternatives
        ],
    )


def _completion_logprobs(tokens: Sequence[ScoredToken]) -> CompletionLogprobs:
    chosen = [(_prefixed(token.data), _finite(token.logprob)) for token in tokens]
    return CompletionLogprobs.model_construct(
        tokens=[text for text, _ in chosen],
        token_logprobs=[logprob for _, logprob in chosen],
        # The chosen token is always among them, so there may be one more than was asked for.
        top_logprobs=[
            {_prefixed(data): _finite(logprob) for data, logprob in token.alternatives} | {text: logprob}
            for token, (text, logprob) in zip(tokens, chosen, strict=True)
        ],
        text_offset=[token.start for token in tokens],
    )


def _finite(logprob: float) -> float:
    return max(_LEAST_LOGPROB, logprob)  # in this order not-a-number becomes it too


def _spelled(data: bytes) -> str:
    r"""A token as text; parts of a character as OpenAI spells them, ``\xf0\x9f``, so that they stay apart."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "".join(f"\\x{byte:02x}" for byte in data)


def _prefixed(data: bytes) -> str:
    """As `_spelled`, but parts of a character begin with ``bytes:``, as OpenAI's completions have them."""
    text = _spelled(data)
    return f"bytes:{text}" if text.startswith("\\x") and b"\\" not in data else text
