"""Which path means which operation: `/v1/...` and the bare paths alike, and 404 or 405 for the rest."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from specserve.backends.errors import MethodNotAllowed, NotFound
from specserve.spec.document import operations

BASE_PATH = "/v1"


class PathMiddleware:
    """Sends a request on under the base path, refuses unknown paths (404) and methods (405 with Allow). Pure ASGI."""

    def __init__(self, app: ASGIApp, document: dict[str, Any]) -> None:
        self._app = app
        methods: dict[str, set[str]] = {}
        for operation in operations(document):
            methods.setdefault(operation.path, set()).add(operation.method.upper())
        self._fixed = {path: _allowed(verbs) for path, verbs in methods.items() if "{" not in path}
        # Every path parameter of this contract is a model id, which may hold slashes.
        # The longest template first: `/models/{model}/load` before `/models/{model}`, which would match as well.
        self._templates = [
            (re.compile(re.sub(r"\\\{\w+\\\}", ".+", re.escape(path))), _allowed(methods[path]))
            for path in sorted(methods, key=len, reverse=True)
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
        allowed = self._methods(path)
        if allowed is None:
            raise NotFound("There is no such path here; the interactive documentation is at /docs.")
        if scope["method"] not in allowed:
            raise MethodNotAllowed("This path does not take this method.", allow=allowed)
        await self._app({**scope, "path": root_path + BASE_PATH + path}, receive, send)

    def _methods(self, path: str) -> tuple[str, ...] | None:
        allowed = self._fixed.get(path)
        if allowed is None:
            allowed = next((verbs for pattern, verbs in self._templates if pattern.fullmatch(path)), None)
        return allowed


def _allowed(verbs: Iterable[str]) -> tuple[str, ...]:
    """Methods in the order of an Allow header; HEAD comes with GET (RFC 9110, section 9.1)."""
    found = set(verbs)
    return tuple(sorted(found | {"HEAD"} if "GET" in found else found))
