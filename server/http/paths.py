"""Which path means which operation: `/v1/...` and the bare paths alike, and 404 or 405 for the rest.

In the place of Connexion's routing, which tries the paths one after the other, and those of each API in a router of its
own. What it would leave in the scope for the middlewares of operations is left there.
"""

from __future__ import annotations

from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from specserve.http.connexion_seam import routed
from specserve.spec.errors import MethodNotAllowed, NotFound
from specserve.spec.paths import Paths

BASE_PATH = "/v1"


class PathMiddleware:
    """Finds the operation of a request, refuses unknown paths (404) and methods (405 with Allow). Pure ASGI."""

    def __init__(self, app: ASGIApp, document: dict[str, Any]) -> None:
        self._app = app
        self._paths = Paths(document)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Route by path and method.

        Raises:
            NotFound: No operation has this path.
            MethodNotAllowed: It has one, with other methods.
        """
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        root_path: str = scope.get("root_path", "")
        path: str = scope["path"].removeprefix(root_path)
        if path.startswith(BASE_PATH + "/"):
            path = path[len(BASE_PATH) :]
        place = self._paths.find(path)
        if place is None:
            raise NotFound("There is no such path here; the interactive documentation is at /docs.")
        methods, parameters = place
        if "GET" in methods:
            methods = {"HEAD": methods["GET"], **methods}  # RFC 9110, section 9.1
        operation_id = methods.get(scope["method"])
        if operation_id is None:
            raise MethodNotAllowed("This path does not take this method.", allow=tuple(sorted(methods)))
        found = {
            "path": root_path + BASE_PATH + path,
            "path_params": parameters,
            "extensions": routed(scope, BASE_PATH, operation_id),
        }
        await self._app({**scope, **found}, receive, send)
