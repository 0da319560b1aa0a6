"""The end of requests that outlast the grace period of a shutdown."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from specserve.http.errors import error_response
from specserve.spec.errors import Unavailable
from specserve.spec.sse import event


class ShutdownMiddleware:
    """Tells a client that its request is cut off: 503, or the error as an event in a stream that has begun. Pure ASGI.

    Nothing but the end of the grace period cancels a request's task: a client that goes away does not.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application, and answer in its place if it is cancelled."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start: Message | None = None
        complete = False

        async def watch(message: Message) -> None:
            nonlocal start, complete
            if start is None:
                start = message
            else:
                complete = not message.get("more_body", False)
            await send(message)

        try:
            await self._app(scope, receive, watch)
        except asyncio.CancelledError:
            error = Unavailable("The server is shutting down.", retry_after=5)
            if start is None:
                await error_response(error)(scope, receive, send)
            elif not complete and _is_event_stream(start):
                await send({"type": "http.response.body", "body": event(error.to_json()), "more_body": False})
            elif not complete:
                raise


def _is_event_stream(start: Message) -> bool:
    return any(
        name.lower() == b"content-type" and value.startswith(b"text/event-stream") for name, value in start["headers"]
    )
