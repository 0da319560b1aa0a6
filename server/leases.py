"""What a request holds until its answer is out."""

from __future__ import annotations

from contextlib import ExitStack

from starlette.types import ASGIApp, Receive, Scope, Send


class LeaseMiddleware:
    """Gives each request a stack for what it takes, and unwinds it at the request's end, however that comes. Pure ASGI.

    A handler returns before its stream has begun, so it could not give back itself what the stream needs.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application with an empty stack as `leases` in the scope's state."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        with ExitStack() as leases:
            scope["state"]["leases"] = leases
            await self._app(scope, receive, send)
