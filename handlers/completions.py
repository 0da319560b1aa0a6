"""Text completions."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from specserve.backends.abilities import Completes
from specserve.generated.models import CreateCompletionRequest
from specserve.handlers._delivery.fold import CompletionFold
from specserve.handlers._delivery.model import new_call, served_model
from specserve.handlers._delivery.plain import folded
from specserve.handlers._delivery.stream import EventStream


async def create_completion(request: Request, body: CreateCompletionRequest) -> Response:
    """Continue a text."""
    model, body = await served_model(request, "createCompletion", body)
    call = new_call(request, "cmpl")
    chunks = model.backend.ability(Completes).complete(body, call)
    if body.stream:
        include_usage = bool(body.stream_options and body.stream_options.include_usage)
        return EventStream(request, model, chunks, include_usage=include_usage)
    return await folded(request, model, chunks, CompletionFold())
