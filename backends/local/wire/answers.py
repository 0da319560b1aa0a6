"""What choices gained -> the whole answer, encoded, for a request that did not ask for a stream.

It is what the chunks of `chunks.py` fold to, without making them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import orjson

from specserve.backends.base import EncodedAnswer
from specserve.backends.construct import construct, encode
from specserve.backends.local.wire.stencil import hole, stencil
from specserve.backends.local.wire.usage import usage_json
from specserve.generated.models import (
    ChatCompletionChoice,
    ChatCompletionResponseMessage,
    CompletionChoice,
    CreateChatCompletionResponse,
    CreateCompletionResponse,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from specserve.backends.base import Call
    from specserve.backends.local.text.answer import Delta
    from specserve.backends.local.text.usage import Usage
    from specserve.backends.local.wire.spelling import Spelling


class Answers(Protocol):
    """Makes the answers of one model."""

    def encoded(self, call: Call, gained: Sequence[Delta], usage: Usage) -> EncodedAnswer:
        """One answer.

        Args:
            call: The names that it carries.
            gained: All that each choice gained, in the order of the choices.
            usage: What it took.
        """


class ChatAnswers:
    """Makes chat answers that call no tools."""

    def __init__(self, model: str, spelling: Spelling) -> None:
        self._spelling = spelling
        self._answer = _around_choices(CreateChatCompletionResponse, "chat.completion", model)
        message = construct(ChatCompletionResponseMessage, role="assistant", content=hole("content"), refusal=None)
        choice = construct(
            ChatCompletionChoice,
            index=hole("index"),
            message=message,
            logprobs=hole("logprobs"),
            finish_reason=hole("finish_reason"),
        )
        self._choice = stencil(choice)
        message.reasoning_content = hole("thought")
        self._thoughtful_choice = stencil(choice)

    def encoded(self, call: Call, gained: Sequence[Delta], usage: Usage) -> EncodedAnswer:
        """See `Answers`."""
        return _filled(self._answer, call, map(self._of, gained), usage)

    def _of(self, delta: Delta) -> bytes:
        return (self._thoughtful_choice if delta.thought else self._choice) % {
            b"content": orjson.dumps(delta.text),
            b"finish_reason": orjson.dumps(delta.finish_reason),
            b"index": b"%d" % delta.index,
            b"logprobs": encode(self._spelling.chat(delta.scored)) if delta.scored else b"null",
            b"thought": orjson.dumps(delta.thought),
        }


class CompletionAnswers:
    """Makes completions."""

    def __init__(self, model: str, spelling: Spelling) -> None:
        self._spelling = spelling
        self._answer = _around_choices(CreateCompletionResponse, "text_completion", model)
        self._choice = stencil(
            construct(
                CompletionChoice,
                text=hole("text"),
                index=hole("index"),
                logprobs=hole("logprobs"),
                finish_reason=hole("finish_reason"),
            )
        )

    def encoded(self, call: Call, gained: Sequence[Delta], usage: Usage) -> EncodedAnswer:
        """See `Answers`."""
        return _filled(self._answer, call, map(self._of, gained), usage)

    def _of(self, delta: Delta) -> bytes:
        return self._choice % {
            b"finish_reason": orjson.dumps(delta.finish_reason),
            b"index": b"%d" % delta.index,
            b"logprobs": encode(self._spelling.completion(delta.scored)) if delta.scored else b"null",
            b"text": orjson.dumps(delta.text),
        }


def _around_choices(
    kind: type[CreateChatCompletionResponse | CreateCompletionResponse], name: str, model: str
) -> bytes:
    answer = construct(
        kind,
        id=hole("id"),
        object=name,
        created=hole("created"),
        model=model,
        choices=[hole("choices")],
        usage=hole("usage"),
    )
    return stencil(answer)


def _filled(answer: bytes, call: Call, choices: Iterable[bytes], usage: Usage) -> EncodedAnswer:
    data = answer % {
        b"choices": b",".join(choices),
        b"created": b"%d" % call.created,
        b"id": orjson.dumps(call.id),
        b"usage": usage_json(usage),
    }
    return EncodedAnswer(data, usage.told())
