"""Models on the stand-in for IBM's cloud, asked in-process."""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from watsonx_cloud import CHAT

from specserve.backends.base import Call, ModelSettings
from specserve.backends.watsonx import open_model
from specserve.generated.models import (
    CreateChatCompletionRequest,
    CreateCompletionRequest,
    CreateEmbeddingRequest,
)

if TYPE_CHECKING:
    from watsonx_cloud import Cloud

CALL = Call(id="x-1", created=1700000000)


def settings(source: str = CHAT, **options: Any) -> ModelSettings:
    return ModelSettings(id="m", backend="watsonx", source=source, options=options)


@asynccontextmanager
async def model(cloud: Cloud, source: str = CHAT, **options: Any):
    """A started model."""
    with patch.dict(os.environ, cloud.environ()):
        backend = open_model(settings(source, **options))
    try:
        await backend.start()
        yield backend
    finally:
        await backend.stop()


def chat_request(text: str = "Hello there", **parameters: Any) -> CreateChatCompletionRequest:
    body = {"model": "m", "messages": [{"role": "user", "content": text}]} | parameters
    return CreateChatCompletionRequest.model_validate(body)


async def chat(backend: Any, text: str = "Hello there", **parameters: Any) -> list[dict[str, Any]]:
    """The chunks as a client sees them."""
    chunks = backend.chat(chat_request(text, **parameters), CALL)
    return [chunk.model_dump(mode="json", exclude_unset=True) async for chunk in chunks]


async def complete(backend: Any, prompt: Any, **parameters: Any) -> list[dict[str, Any]]:
    request = CreateCompletionRequest.model_validate({"model": "m", "prompt": prompt} | parameters)
    return [chunk.model_dump(mode="json", exclude_unset=True) async for chunk in backend.complete(request, CALL)]


async def embed(backend: Any, given: Any, **parameters: Any) -> dict[str, Any]:
    request = CreateEmbeddingRequest.model_validate({"model": "m", "input": given} | parameters)
    return (await backend.embed(request)).model_dump(mode="json", exclude_unset=True)


def ask(cloud: Cloud, what: Any, *arguments: Any, source: str = CHAT, options: Any = None, **parameters: Any) -> Any:
    """Start a model, ask it once, stop it."""

    async def go() -> Any:
        async with model(cloud, source, **(options or {})) as backend:
            try:
                return await what(backend, *arguments, **parameters)
            finally:
                assert backend.activity().running == 0

    return asyncio.run(go())


def content(chunks: list[dict[str, Any]]) -> str:
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])
