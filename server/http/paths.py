"""Which path means which operation: `/v1/...` and the bare paths alike, and 404 or 405 for the rest.

In the place of Connexion's routing, which tries the paths one after the other, and those of each API in a router of its
own. What it would leave in the scope for the middlewares of operations is left there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from connexion.middleware.abstract import ROUTING_CONTEXT
from starlette.types import ASGIApp, Receive, Scope, Send

from specserve.spec.document import operations
from specserve.spec.errors import MethodNotAllowed, NotFound

BASE_PATH = "/v1"

_Methods = Mapping[str, str]  # method -> operationId


class PathMiddleware:
    """Finds the operation of a request, refuses unknown paths (404) and methods (405 with Allow). Pure ASGI."""

    def __init__(self, app: ASGIApp, document: dict[str, Any]) -> None:
        self._app = app
        paths: dict[str, dict[str, str]] = {}
        for operation in operations(document):
            methods = paths.setdefault(operation.path, {})
            methods[operation.method.upper()] = operation.operation_id
            if operation.method == "get":
                methods["HEAD"] = operation.operation_id  # RFC 9110, section 9.1
        self._fixed: dict[str, _Methods] = {path: methods for path, methods in paths.items() if "{" not in path}
        # Every path parameter of this contract is a model id, which may hold slashes.
        # The longest template first: `/models/{model}/load` before `/models/{model}`, which would match as well.
        self._templates: list[tuple[re.Pattern[str], _Methods]] = [
            (re.compile(re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>.+)", re.escape(path))), paths[path])
            for path in sorted(paths, key=len, reverse=True)
            if "{" in path
        ]

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
        methods, parameters = self._find(path)
        operation_id = methods.get(scope["method"])
        if operation_id is None:
            raise MethodNotAllowed("This path does not take this method.", allow=tuple(sorted(methods)))
        found = {
            "path": root_path + BASE_PATH + path,
            "path_params": parameters,
            "extensions": {
                **scope.get("extensions", {}),
                ROUTING_CONTEXT: {"api_base_path": BASE_PATH, "operation_id": operation_id},
            },
        }
        await self._app({**scope, **found}, receive, send)

    def _find(self, path: str) -> tuple[_Methods, dict[str, str]]:
        methods = self._fixed.get(path)
        if methods is not None:
            return methods, {}
        for pattern, methods in self._templates:
            if match := pattern.fullmatch(path):
                return methods, match.groupdict()
        raise NotFound("There is no such path here; the interactive documentation is at /docs.")
