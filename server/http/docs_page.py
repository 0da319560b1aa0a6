"""Swagger UI at `/docs` with assets of our own, the spec at `/openapi.json` and `/openapi.yaml`. Works offline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import swagger_ui_bundle
import yaml
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from specserve.http.paths import BASE_PATH
from specserve.spec.errors import MethodNotAllowed

_PAGE = Path(__file__).parent / "swagger_ui"
_OURS = frozenset({"index.html", "initializer.js"})
_METHODS = ("GET", "HEAD")
# The page runs its own scripts and asks its own server, nothing else; Swagger UI sets styles and shows icons inline.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "font-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_SECURITY_HEADERS = {
    "content-security-policy": _POLICY,
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
}


class DocsMiddleware:
    """Answers for the documentation, passes everything else on. Pure ASGI."""

    def __init__(self, app: ASGIApp, document: dict[str, Any]) -> None:
        self._app = app
        # A relative server address is resolved against the document's own (OpenAPI 3.0.3, server object): it holds
        # behind any path prefix, known to us or not.
        published = {**document, "servers": [{"url": BASE_PATH.removeprefix("/")}]}
        self._fixed = {
            "/": RedirectResponse("docs/"),
            "/docs": RedirectResponse("docs/"),
            "/openapi.json": Response(orjson.dumps(published), media_type="application/json"),
            "/openapi.yaml": Response(
                yaml.safe_dump(published, sort_keys=False, allow_unicode=True), media_type="application/yaml"
            ),
        }
        self._page = StaticFiles(directory=_PAGE)
        self._assets = StaticFiles(directory=swagger_ui_bundle.swagger_ui_path)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a documentation path, or go on."""
        path: str = scope["path"].removeprefix(scope.get("root_path", "")) if scope["type"] == "http" else ""
        response: ASGIApp | None = self._fixed.get(path)
        if response is None and path.startswith("/docs/"):
            response = await self._file(path.removeprefix("/docs/") or "index.html", scope)
        if response is None:
            await self._app(scope, receive, send)
        elif scope["method"] in _METHODS:
            await response(scope, receive, send)
        else:
            raise MethodNotAllowed("This path does not take this method.", allow=_METHODS)

    async def _file(self, name: str, scope: Scope) -> ASGIApp | None:
        files = self._page if name in _OURS else self._assets
        try:
            response = await files.get_response(name, {**scope, "method": "GET"})
        except HTTPException:
            return None
        response.headers.update(_SECURITY_HEADERS)
        return response
