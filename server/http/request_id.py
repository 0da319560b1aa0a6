"""One id per request, for finding it again in the log. Not the id of a completion."""

from __future__ import annotations

import re
import secrets

from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADER = b"x-request-id"

# What a client may choose: it goes into the log and into a response header as it is.
_SANE = re.compile(rb"[A-Za-z0-9._:\-]{1,128}")


def new_request_id() -> bytes:
    """An id of ours."""
    return b"req_" + secrets.token_hex(16).encode()


class RequestIdMiddleware:
    """Gives every request an id, the client's own if it is sane, and every response the header. Pure ASGI.

    Further inside, the id is ``scope["state"]["request_id"]``, and scope and state are the request's own.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application with the id in its scope, and put it on the response."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _client_id(scope) or new_request_id()
        # The state that the lifespan filled is shared by all requests unless the server copied it: copy it here, so
        # that everything further inside may write into both.
        scope = {**scope, "state": {**scope.get("state", {}), "request_id": request_id.decode()}}

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [header for header in message.get("headers", ()) if header[0].lower() != HEADER]
                message = {**message, "headers": [*headers, (HEADER, request_id)]}
            await send(message)

        await self._app(scope, receive, send_with_id)


def _client_id(scope: Scope) -> bytes | None:
    for name, value in scope["headers"]:
        if name == HEADER:
            return value if _SANE.fullmatch(value) else None
    return None
