"""The least that Starlette needs to send the same stream: no models, no validation, each event made once."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route


async def create_chat_completion(request: Request) -> Response:
    """Answer as `echo` does: the last user message, two characters an event."""
    body = orjson.loads(await request.body())
    text = body["messages"][-1]["content"]
    head = {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion.chunk",
        "created": int(time.time()),
        "model": body["model"],
    }

    def event(delta: dict[str, str], finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return b"data: " + orjson.dumps({**head, "choices": [choice]}) + b"\n\n"

    async def events() -> AsyncIterator[bytes]:
        yield event({"role": "assistant", "content": ""})
        for at in range(0, len(text), 2):
            yield event({"content": text[at : at + 2]})
        yield event({}, "stop")
        yield b"data: [DONE]\n\n"

    return StreamingResponse(events(), media_type="text/event-stream", headers={"cache-control": "no-cache"})


app = Starlette(routes=[Route("/v1/chat/completions", create_chat_completion, methods=["POST"])])
