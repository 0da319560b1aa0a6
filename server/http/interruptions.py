"""Requests that are ended from outside: the server stops, their model must go, or they take too long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from specserve.http.errors import error_response
from specserve.spec.errors import APIError, DeadlineExceeded, Unavailable
from specserve.spec.sse import event

_LAST_WORDS_SECONDS = 2
"""How long a client that does not read may keep the end of its request waiting."""


class InterruptionMiddleware:
    """Tells a client why its request was ended: by an error, or by an event in a stream that has begun. Pure ASGI.

    A request is ended by cancelling its task, and then frees all that it holds. Whoever does so by `interrupt` in the
    scope's state says why by an error; a task that is cancelled otherwise is cancelled because the server stops. A
    client that leaves cancels nothing.

    Args:
        app: The application.
        request_timeout: Seconds that a request may take in all; 0 sets no limit.
    """

    def __init__(self, app: ASGIApp, request_timeout: float = 0) -> None:
        self._app = app
        self._request_timeout = request_timeout
        self._log = structlog.get_logger("specserve.requests")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application, and answer in its place if it is interrupted."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start: Message | None = None
        complete = False
        reason: APIError | None = None
        over = False
        task = asyncio.current_task()

        def interrupt(error: APIError) -> None:
            nonlocal reason
            if not over and reason is None and task is not None:
                reason = error
                task.cancel()

        async def watch(message: Message) -> None:
            nonlocal start, complete
            if start is None:
                start = message
            else:
                complete = not message.get("more_body", False)
            await send(message)

        scope["state"]["interrupt"] = interrupt
        limit = self._set_limit(interrupt)
        try:
            await self._app(scope, receive, watch)
        except asyncio.CancelledError:
            over = True
            error = reason or Unavailable("The server is shutting down.", retry_after=5)
            if complete:
                return
            if start is not None and not _is_event_stream(start):
                raise
            self._log.warning("a request was ended", path=scope["path"], reason=error.message)
            async with asyncio.timeout(_LAST_WORDS_SECONDS):
                if start is None:
                    await error_response(error)(scope, receive, send)
                else:
                    await send({"type": "http.response.body", "body": event(error.to_json()), "more_body": False})
        finally:
            over = True
            if limit is not None:
                limit.cancel()

    def _set_limit(self, interrupt: Callable[[APIError], None]) -> asyncio.TimerHandle | None:
        if not self._request_timeout:
            return None
        error = DeadlineExceeded(
            f"The request took longer than {self._request_timeout:g} seconds, the most that it can take."
        )
        return asyncio.get_running_loop().call_later(self._request_timeout, interrupt, error)


def _is_event_stream(start: Message) -> bool:
    return any(
        name.lower() == b"content-type" and value.startswith(b"text/event-stream") for name, value in start["headers"]
    )
