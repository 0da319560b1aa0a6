"""Plain answers: the fold of a backend's chunks, as JSON."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from specserve.backends.base import Accepted, EncodedAnswer, EncodedEvents
from specserve.backends.construct import encode
from specserve.generated.models import (
    CreateChatCompletionResponse,
    CreateChatCompletionStreamResponse,
    CreateCompletionResponse,
)
from specserve.handlers._delivery.fold import Fold
from specserve.handlers._delivery.log_fields import note_usage
from specserve.handlers._delivery.watching import until_disconnect
from specserve.models.served_model import ServedModel

Chunks = AsyncGenerator[
    CreateChatCompletionStreamResponse | CreateCompletionResponse | Accepted | EncodedEvents | EncodedAnswer, None
]


async def folded(request: Request, model: ServedModel, chunks: Chunks, fold: Fold) -> Response:
    """Answer with the fold of the chunks. A client that leaves ends the generation."""
    answer = await until_disconnect(request.receive, _fold_admitted(model, chunks, fold))
    if isinstance(answer, EncodedAnswer):
        return encoded_response(request, answer)
    note_usage(request, answer.usage)
    return json_response(answer)


async def _fold_admitted(
    model: ServedModel, chunks: Chunks, fold: Fold
) -> CreateChatCompletionResponse | CreateCompletionResponse | EncodedAnswer:
    async with model.admission.slot(), aclosing(chunks):
        async for item in chunks:
            if isinstance(item, EncodedAnswer):
                return item
            if isinstance(item, EncodedEvents):
                raise TypeError("a backend gave encoded events to a request that did not ask for a stream")
            if not isinstance(item, Accepted):
                fold.add(item)
    return fold.build()


def encoded_response(request: Request, answer: EncodedAnswer) -> Response:
    """A 200 with a body that is encoded already."""
    note_usage(request, answer.usage)
    return Response(answer.data, media_type="application/json")


def json_response(answer: BaseModel) -> Response:
    """A 200 with a generated model as its body."""
    return Response(encode(answer), media_type="application/json")
