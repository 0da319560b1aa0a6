"""From a backend's chunks to a response, streamed or folded: what chat and completions have in common."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, TypeVar

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from specserve.backends.errors import OperationNotSupported
from specserve.backends.registry import ServedModel
from specserve.generated.models import (
    CompletionUsage,
    CreateChatCompletionStreamResponse,
    CreateCompletionResponse,
)
from specserve.handlers._parameters import refuse_unsupported
from specserve.handlers._sse import EventStream, until_disconnect

Chunk = TypeVar("Chunk", CreateChatCompletionStreamResponse, CreateCompletionResponse)


def served_model(request: Request, operation_id: str, model_id: str) -> ServedModel:
    """The model a request names, after its parameters were found to be within what the model can do.

    Raises:
        ModelNotFound: It is not served here.
        OperationNotSupported: It does something else.
        UnsupportedParameter: See `refuse_unsupported`.
    """
    model: ServedModel = request.state.registry.get(model_id)
    note(request, model=model_id)
    supported = model.backend.capabilities.operations.get(operation_id)
    if supported is None:
        raise OperationNotSupported("The requested model does not support this operation.", param="model")
    refuse_unsupported(request.state.parameters[operation_id], request.state.body, supported)
    return model


async def folded(
    request: Request,
    model: ServedModel,
    chunks: AsyncGenerator[Chunk, None],
    fold: Callable[[AsyncIterator[Chunk]], Awaitable[BaseModel]],
) -> Response:
    """Answer with the fold of the chunks. A client that goes away ends the generation."""
    answer: Any = await until_disconnect(request.receive, _fold_admitted(model, chunks, fold))
    _note_usage(request, answer.usage)
    return json_response(answer)


async def streamed(
    request: Request,
    model: ServedModel,
    chunks: AsyncGenerator[Chunk, None],
    *,
    include_usage: bool,
) -> Response:
    """Answer with the chunks as events. An error before the first chunk is still a plain response."""
    admitted = _admitted(model, chunks)
    first = await until_disconnect(request.receive, anext(admitted))
    return EventStream(_payloads(request, first, admitted, include_usage=include_usage))


async def _admitted(model: ServedModel, chunks: AsyncGenerator[Chunk, None]) -> AsyncGenerator[Chunk, None]:
    """The chunks, generated while one of the model's slots is held."""
    async with model.admission.slot(), aclosing(chunks):
        async for chunk in chunks:
            yield chunk


async def _fold_admitted(
    model: ServedModel,
    chunks: AsyncGenerator[Chunk, None],
    fold: Callable[[AsyncIterator[Chunk]], Awaitable[BaseModel]],
) -> BaseModel:
    async with aclosing(_admitted(model, chunks)) as admitted:
        return await fold(admitted)


async def _payloads(
    request: Request,
    first: Chunk,
    rest: AsyncGenerator[Chunk, None],
    *,
    include_usage: bool,
) -> AsyncGenerator[bytes, None]:
    """The JSON of each event; the usage chunk only for those who asked, and then `usage` in every chunk."""
    async with aclosing(rest):
        chunk: Chunk | None = first
        while chunk is not None:
            if chunk.choices:
                if include_usage:
                    chunk.usage = None
                yield chunk.model_dump_json(exclude_unset=True).encode()
            else:
                _note_usage(request, chunk.usage)
                if include_usage:
                    yield chunk.model_dump_json(exclude_unset=True).encode()
            chunk = await anext(rest, None)


def json_response(answer: BaseModel) -> Response:
    """A 200 with a generated model as its body."""
    return Response(answer.model_dump_json(exclude_unset=True), media_type="application/json")


def note(request: Request, **facts: object) -> None:
    """Add facts to the request's log line."""
    request.state.log.update(facts)


def _note_usage(request: Request, usage: CompletionUsage | None) -> None:
    if usage is not None:
        note(request, prompt_tokens=usage.prompt_tokens, completion_tokens=usage.completion_tokens)
