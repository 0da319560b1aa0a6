"""Asks an echo backend in-process, for the tests of `echo`."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from chunks import STREAM, chunks_in

from specserve.backends.base import Call, ModelSettings
from specserve.backends.echo import Echo
from specserve.generated.models import CreateChatCompletionRequest, CreateCompletionRequest
from specserve.spec.errors import (
    APIError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CALL = Call(id="x-1", created=1700000000)
COMMON = {"id": "x-1", "created": 1700000000, "model": "parrot"}


@asynccontextmanager
async def echo(**options: Any) -> AsyncIterator[Echo]:
    backend = Echo(ModelSettings(id="parrot", backend="echo", options=options))
    await backend.start()
    try:
        yield backend
    finally:
        await backend.stop()


def chat_request(*texts: str, **parameters: Any) -> CreateChatCompletionRequest:
    messages = [{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(texts)]
    body = ({"messages": messages} if texts else {}) | {"model": "parrot"} | STREAM | parameters
    return CreateChatCompletionRequest.model_validate(body)


def chat(*texts: str, options: dict[str, Any] | None = None, **parameters: Any) -> list[dict[str, Any]]:
    """The chunks as a client sees them."""

    async def run() -> list[dict[str, Any]]:
        async with echo(**(options or {})) as backend:
            chunks = [chunk async for chunk in backend.chat(chat_request(*texts, **parameters), CALL)]
            assert backend.activity().running == 0
            return chunks_in(chunks)

    return asyncio.run(run())


def complete(prompt: Any, options: dict[str, Any] | None = None, **parameters: Any) -> list[dict[str, Any]]:
    async def run() -> list[dict[str, Any]]:
        stream = {} if "best_of" in parameters else STREAM
        request = CreateCompletionRequest.model_validate({"model": "parrot", "prompt": prompt} | stream | parameters)
        async with echo(**(options or {})) as backend:
            chunks = [chunk async for chunk in backend.complete(request, CALL)]
            assert backend.activity().running == 0
            return chunks_in(chunks)

    return asyncio.run(run())


def choices(chunks: list[dict[str, Any]], index: int = 0) -> list[dict[str, Any]]:
    return [choice for chunk in chunks for choice in chunk["choices"] if choice["index"] == index]


def content(chunks: list[dict[str, Any]], index: int = 0) -> str:
    return "".join(choice["delta"].get("content", "") for choice in choices(chunks, index))


def text(chunks: list[dict[str, Any]], index: int = 0) -> str:
    return "".join(choice["text"] for choice in choices(chunks, index))


def finish(chunks: list[dict[str, Any]], index: int = 0) -> str:
    reasons = [choice["finish_reason"] for choice in choices(chunks, index)]
    assert all(reason is None for reason in reasons[:-1])
    return str(reasons[-1])


def refusal(kind: type[APIError], *texts: str, options: dict[str, Any] | None = None, **parameters: Any) -> APIError:
    with pytest.raises(kind) as caught:
        chat(*texts, options=options, **parameters)
    assert type(caught.value) is kind
    return caught.value
