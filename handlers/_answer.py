"""From a backend's chunks to a response, streamed or folded: what chat and completions have in common."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from specserve.backends.base import Accepted, EncodedAnswer, EncodedEvents
from specserve.backends.construct import encode
from specserve.generated.models import (
    CompletionUsage,
    CreateChatCompletionStreamResponse,
    CreateCompletionResponse,
)
from specserve.handlers._parameters import refuse_unsupported
from specserve.handlers._sse import EventStream, event, until_disconnect
from specserve.models.served_model import ServedModel
from specserve.spec.errors import OperationNotSupported

Body = TypeVar("Body", bound=BaseModel)
Chunk = TypeVar("Chunk", CreateChatCompletionStreamResponse, CreateCompletionResponse)
Chunk_contra = TypeVar("Chunk_contra", contravariant=True)

_TOLD = ("prompt_tokens", "completion_tokens")


class Fold(Protocol[Chunk_contra]):
    """Adds up chunks to an answer; see `_fold.py`."""

    def add(self, chunk: Chunk_contra) -> None:
        """Take the next chunk."""

    def build(self) -> BaseModel:
        """The answer."""


async def served_model(request: Request, operation_id: str, body: Body) -> tuple[ServedModel, Body]:
    """The model a request names, held until the answer is out, and the request with the model's defaults filled in.

    A model that is loaded on request is loaded first. The parameters are within what the model can do.

    Raises:
        ModelNotFound: It is not served here.
        Unavailable: It is not loaded, and cannot be.
        OperationNotSupported: It does something else.
        UnsupportedParameter: See `refuse_unsupported`.
    """
    state: dict[str, Any] = request.scope["state"]  # each look through `request.state` costs a microsecond
    raw: dict[str, Any] = state["body"]
    model: ServedModel = state["registry"].get(raw["model"])
    state["log"]["model"] = model.id
    if not model.try_lease():
        await until_disconnect(request.receive, model.lease())
    state["leases"].append(model.release)
    supported = model.backend.capabilities.operations.get(operation_id)
    if supported is None:
        raise OperationNotSupported("The requested model does not support this operation.", param="model")
    refuse_unsupported(state["parameters"][operation_id], raw, supported)
    return model, model.defaults.apply(operation_id, body, raw, supported)


async def folded(
    request: Request,
    model: ServedModel,
    chunks: AsyncGenerator[Chunk | Accepted | EncodedEvents | EncodedAnswer, None],
    fold: Fold[Chunk],
) -> Response:
    """Answer with the fold of the chunks. A client that goes away ends the generation."""
    answer: Any = await until_disconnect(request.receive, _fold_admitted(model, chunks, fold))
    if isinstance(answer, EncodedAnswer):
        return encoded_response(request, answer)
    _note_usage(request, answer.usage)
    return json_response(answer)


async def streamed(
    request: Request,
    model: ServedModel,
    chunks: AsyncGenerator[Chunk | Accepted | EncodedEvents | EncodedAnswer, None],
    *,
    include_usage: bool,
) -> Response:
    """Answer with the chunks as events. An error before the first chunk is still a plain response."""
    events = _events(request, model, chunks, include_usage=include_usage)
    first = await until_disconnect(request.receive, anext(events))
    return EventStream(first, events)


async def _fold_admitted(
    model: ServedModel,
    chunks: AsyncGenerator[Chunk | Accepted | EncodedEvents | EncodedAnswer, None],
    fold: Fold[Chunk],
) -> BaseModel | EncodedAnswer:
    async with model.admission.slot(), aclosing(chunks):
        async for item in chunks:
            if isinstance(item, EncodedAnswer):
                return item
            if isinstance(item, EncodedEvents):
                raise TypeError("a backend gave encoded events to a request that did not ask for a stream")
            if not isinstance(item, Accepted):
                fold.add(item)
    return fold.build()


async def _events(
    request: Request,
    model: ServedModel,
    chunks: AsyncGenerator[Chunk | Accepted | EncodedEvents | EncodedAnswer, None],
    *,
    include_usage: bool,
) -> AsyncGenerator[bytes, None]:
    """The events, generated while one of the model's slots is held.

    The usage chunk is only for those who asked, and then `usage` is in every chunk.
    """
    async with model.admission.slot(), aclosing(chunks):
        async for chunk in chunks:
            if isinstance(chunk, EncodedEvents):
                _note_usage(request, chunk.usage)
                if chunk.data:
                    yield chunk.data
            elif isinstance(chunk, EncodedAnswer):
                raise TypeError("a backend gave an encoded answer to a request for a stream")
            elif isinstance(chunk, Accepted):
                continue
            elif chunk.choices:
                if include_usage:
                    chunk.usage = None
                yield event(encode(chunk))
            else:
                _note_usage(request, chunk.usage)
                if include_usage:
                    yield event(encode(chunk))


def encoded_response(request: Request, answer: EncodedAnswer) -> Response:
    """A 200 with a body that is encoded already."""
    _note_usage(request, answer.usage)
    return _JSONBytes(answer.data)


def json_response(answer: BaseModel) -> Response:
    """A 200 with a generated model as its body."""
    return _JSONBytes(encode(answer))


class _JSONBytes(Response):
    """A 200 whose headers are known without asking."""

    def __init__(self, data: bytes) -> None:
        self.status_code, self.background, self.body = 200, None, data
        self.raw_headers = [(b"content-length", b"%d" % len(data)), (b"content-type", b"application/json")]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body})


def note(request: Request, **facts: object) -> None:
    """Add facts to the request's log line."""
    request.state.log.update(facts)


def _note_usage(request: Request, usage: CompletionUsage | Mapping[str, Any] | None) -> None:
    if usage is None:
        return
    told = vars(usage) if isinstance(usage, CompletionUsage) else usage
    log: dict[str, Any] = request.scope["state"]["log"]
    for name in _TOLD:
        if name in told:
            log[name] = told[name]
