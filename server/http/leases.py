"""What a request holds until its answer is out."""

from __future__ import annotations

from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send


class LeaseMiddleware:
    """Gives back at a request's end, however that comes, what it has taken. Pure ASGI.

    A handler adds the function that gives back to the list `leases` in the scope's state. It returns before its stream
    has begun, so it could not give back itself what the stream needs.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application with an empty list as `leases` in the scope's state."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        leases: list[Callable[[], None]] = []
        scope["state"]["leases"] = leases
        try:
            await self._app(scope, receive, send)
        finally:
            while leases:
                leases.pop()()
