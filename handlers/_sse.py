"""How a response becomes text/event-stream: chunks as events, the end, and what goes wrong between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable
from contextlib import aclosing
from typing import TypeVar

import structlog
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from specserve.spec.errors import APIError

_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # asks nginx not to hold events back
]
T = TypeVar("T")
_UNWATCHED_SECONDS = 0.005
_DONE = b"data: [DONE]\n\n"


def event(payload: bytes) -> bytes:
    """One server-sent event with a JSON payload, as in the WHATWG HTML standard, section 9.2."""
    return b"data: " + payload + b"\n\n"


class EventStream(Response):
    """A stream of events that ends with ``data: [DONE]``, or, after the first byte, with an error and without it.

    Args:
        first: What goes out first: one or several events, made by `event` or encoded alike.
        events: What follows, of the same kind. Closed when the stream ends, for whatever reason.
    """

    def __init__(self, first: bytes, events: AsyncGenerator[bytes, None]) -> None:
        super().__init__()
        self._first = first
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events until they end or the client goes away."""
        await until_disconnect(receive, self._send_events(send))

    async def _send_events(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        async with aclosing(self._events) as events:
            try:
                await send({"type": "http.response.body", "body": self._first, "more_body": True})
                async for data in events:
                    await send({"type": "http.response.body", "body": data, "more_body": True})
            except APIError as error:
                end = event(error.to_json())
            except Exception as error:  # noqa: BLE001  after the first byte an event is the only way to tell the client
                structlog.get_logger("specserve.errors").error("stream crashed", exc_info=error)
                end = event(APIError("The server had an error while generating.").to_json())
            else:
                end = _DONE
        await send({"type": "http.response.body", "body": end, "more_body": False})


async def until_disconnect(receive: Receive, work: Awaitable[T]) -> T:
    """Do `work`, but cancel it as soon as the client goes away.

    Raises:
        ClientDisconnect: It did; there is no one to answer.
    """
    task = asyncio.current_task()
    assert task is not None  # noqa: S101  awaiting takes one
    gone = over = False

    def leave(watcher: asyncio.Task[None]) -> None:
        nonlocal gone
        # It may be called when the work has just ended: then what follows is not to be cancelled.
        if not watcher.cancelled() and not over:
            gone = True
            task.cancel()

    watcher: asyncio.Task[None] | None = None

    def watch() -> None:
        nonlocal watcher
        watcher = asyncio.create_task(_disconnect(receive))
        watcher.add_done_callback(leave)

    # What is done sooner needs no watcher, which costs more than the rest of this.
    begins = asyncio.get_running_loop().call_later(_UNWATCHED_SECONDS, watch)
    try:
        return await work
    except asyncio.CancelledError:
        if gone and task.uncancel() == 0:
            raise ClientDisconnect from None
        raise  # someone else wants the request to end
    finally:
        over = True
        begins.cancel()
        if watcher is not None:
            watcher.cancel()


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
