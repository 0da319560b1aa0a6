"""Chat completions."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from specserve.backends.abilities import Chats
from specserve.generated.models import CreateChatCompletionRequest
from specserve.handlers._delivery.fold import ChatFold
from specserve.handlers._delivery.model import new_call, served_model
from specserve.handlers._delivery.plain import folded
from specserve.handlers._delivery.stream import EventStream


async def create_chat_completion(request: Request, body: CreateChatCompletionRequest) -> Response:
    """Answer a conversation."""
    model, body = await served_model(request, "createChatCompletion", body)
    call = new_call(request, "chatcmpl")
    chunks = model.backend.ability(Chats).chat(body, call)
    if body.stream:
        include_usage = bool(body.stream_options and body.stream_options.include_usage)
        return EventStream(request, model, chunks, include_usage=include_usage)
    return await folded(request, model, chunks, ChatFold())
