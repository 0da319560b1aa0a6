"""Streamed answers: a backend's chunks as server-sent events, the end, and what goes wrong between.

The response starts with the first chunk, so that until then an error is a plain response with its status. It starts
without one if the backend says that it has accepted the request (`Accepted`) and no chunk comes for a while: then
comments keep the connection alive until one does. They fill long gaps between chunks as well.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import structlog
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from specserve.backends.base import Accepted, EncodedAnswer, EncodedEvents
from specserve.backends.construct import encode
from specserve.generated.models import CreateChatCompletionStreamResponse, CreateCompletionResponse
from specserve.handlers._delivery.log_fields import note_usage
from specserve.handlers._delivery.watching import Watcher, until_disconnect
from specserve.models.served_model import ServedModel
from specserve.spec.errors import APIError
from specserve.spec.sse import DONE, comment, event

Chunks = AsyncGenerator[
    CreateChatCompletionStreamResponse | CreateCompletionResponse | Accepted | EncodedEvents | EncodedAnswer, None
]

_HEADERS = {
    "cache-control": "no-cache",
    "x-accel-buffering": "no",  # asks nginx not to hold events back
}
_KEEP_ALIVE = comment("keep-alive")


class EventStream(StreamingResponse):
    """A stream of events that ends with ``data: [DONE]``, or, once it has begun, with an error and without it.

    Args:
        request: What is answered.
        model: The model; one of its slots is held while it generates.
        chunks: What its backend gives. Closed when the stream ends, for whatever reason.
        include_usage: Whether the client asked for the usage: then it is in the last chunk, and null in all others.
    """

    def __init__(self, request: Request, model: ServedModel, chunks: Chunks, *, include_usage: bool) -> None:
        super().__init__(
            (), headers=_HEADERS, media_type="text/event-stream"
        )  # for the headers; `__call__` sends the body
        self._request = request
        self._model = model
        self._chunks = chunks
        self._include_usage = include_usage

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events until they end or the client leaves.

        Raises:
            APIError: Before the response has started.
        """
        interval: float = scope["state"]["stream_keep_alive_seconds"]
        output = _Output(send, self, interval)
        watchers = (Watcher(interval, output.keep_alive),) if interval else ()
        await until_disconnect(receive, self._send_all(output), *watchers)

    async def _send_all(self, output: _Output) -> None:
        try:
            await self._send_chunks(output)
        except Exception as error:
            if not await output.started_before_error():
                raise
            if not isinstance(error, APIError):
                structlog.get_logger("specserve.errors").error("stream crashed", exc_info=error)
                error = APIError("The server had an error while generating.")
            await output.end(event(error.to_json()))
        else:
            await output.end(DONE)

    async def _send_chunks(self, output: _Output) -> None:
        async with self._model.admission.slot(), aclosing(self._chunks) as chunks:
            async for chunk in chunks:
                if isinstance(chunk, EncodedEvents):
                    if chunk.usage is not None:
                        note_usage(self._request, chunk.usage)
                    if chunk.data:
                        await output.send(chunk.data)
                elif isinstance(chunk, Accepted):
                    output.accept()
                elif isinstance(chunk, EncodedAnswer):
                    raise TypeError("a backend gave an encoded answer to a request for a stream")
                elif chunk.choices:
                    if self._include_usage and "usage" not in chunk.model_fields_set:
                        chunk.usage = None
                    await output.send(event(encode(chunk)))
                else:
                    note_usage(self._request, chunk.usage)
                    if self._include_usage:
                        await output.send(event(encode(chunk)))


class _Output:
    """The response as it goes out: one message at a time, from the chunks or from the keep-alive.

    Args:
        send: Of ASGI.
        response: Its status and headers.
        interval: Seconds of silence after which a comment is sent.
    """

    def __init__(self, send: Send, response: StreamingResponse, interval: float) -> None:
        self._send = send
        self._response = response
        self._interval = interval
        self._clock = asyncio.get_running_loop().time
        self._turn = asyncio.Lock()
        self._may_start = asyncio.Event()
        self._started = self._ended = False
        self._quiet_since = 0.0

    def accept(self) -> None:
        """From now on the response may start without a chunk."""
        self._quiet_since = self._clock()
        self._may_start.set()

    async def send(self, data: bytes) -> None:
        """Send events. The first ones start the response."""
        async with self._turn:
            await self._send_now(data, more=True)

    async def end(self, data: bytes) -> None:
        """Send the last event."""
        async with self._turn:
            self._ended = True
            await self._send_now(data, more=False)

    async def started_before_error(self) -> bool:
        """Whether the response has started, so that an error must become an event; if not, it never will."""
        async with self._turn:
            self._ended = not self._started
            return self._started

    async def keep_alive(self) -> None:
        """Send a comment after each interval of silence, for ever; the first once the response may start."""
        await self._may_start.wait()
        while True:
            await asyncio.sleep(self._quiet_since + self._interval - self._clock())
            async with self._turn:
                if not self._ended and self._clock() >= self._quiet_since + self._interval:
                    await self._send_now(_KEEP_ALIVE, more=True)

    async def _send_now(self, data: bytes, *, more: bool) -> None:
        if not self._started:
            self._started = True
            self._may_start.set()
            start = {"status": self._response.status_code, "headers": self._response.raw_headers}
            await self._send({"type": "http.response.start", **start})
        await self._send({"type": "http.response.body", "body": data, "more_body": more})
        self._quiet_since = self._clock()
