"""Which web pages may ask: a browser on this machine can be made to send requests by any page that it shows."""

from __future__ import annotations

import re
from collections.abc import Iterable

from starlette.types import ASGIApp, Receive, Scope, Send

from specserve.config.settings import Settings
from specserve.http.auth import is_loopback
from specserve.spec.errors import Misdirected, PermissionDenied

_HOST = re.compile(r"(\[[^\]]*\]|[^:]*)(?::\d*)?")
_FOREIGN_SITES = frozenset({b"cross-site", b"same-site"})
_READING = frozenset({"GET", "HEAD"})


class OriginMiddleware:
    """Refuses what a page of another site makes a browser send, unless `cors_origins` allows it. Pure ASGI.

    A server that needs no key answers only for hosts that cannot be another site's name for it (DNS rebinding), and
    no page of another origin. On a server with keys a page can use only what the browser itself remembers: the
    credentials of Basic authentication. Clients that are no browsers send neither Origin nor Sec-Fetch-Site.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._open = not settings.api_keys
        self._origins = frozenset(origin.lower().rstrip("/") for origin in settings.cors_origins)
        self._any_origin = "*" in settings.cors_origins
        self._any_host = "*" in settings.allowed_hosts
        self._hosts = _hosts([settings.host, *settings.allowed_hosts])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it.

        Raises:
            Misdirected: The server is open, and the request is for a host of another name.
            PermissionDenied: A page of another origin sent it.
        """
        if scope["type"] == "http":
            self._check(scope)
        await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        host = origin = site = mode = None
        basic = False
        for name, value in scope["headers"]:
            if name == b"host":
                host = value
            elif name == b"origin":
                origin = value
            elif name == b"sec-fetch-site":
                site = value
            elif name == b"sec-fetch-mode":
                mode = value
            elif name == b"authorization":
                basic = basic or value[:6].lower() == b"basic "
        if self._open and not self._any_host and host is not None and not self._is_ours(host):
            raise Misdirected(
                "This server does not answer for the host of this request. Its operator can add it to 'allowed_hosts'."
            )
        if (origin is None and site is None) or self._any_origin or not (self._open or basic):
            return
        if not self._is_allowed(scope["method"], host, origin, site, mode):
            raise PermissionDenied(
                "Pages of this origin may not use this server. Its operator can add the origin to 'cors_origins'."
            )

    def _is_ours(self, host: bytes) -> bool:
        found = _HOST.fullmatch(host.decode("latin-1"))
        if found is None:
            return False
        name = found[1].lower().strip("[]").rstrip(".")
        return name in self._hosts or is_loopback(name)

    def _is_allowed(
        self, method: str, host: bytes | None, origin: bytes | None, site: bytes | None, mode: bytes | None
    ) -> bool:
        if origin is not None and origin.decode("latin-1").lower() in self._origins:
            return True
        if site is not None:  # the browser's own word, which no page can change and no proxy does
            # A person may follow a link to the documentation.
            return site not in _FOREIGN_SITES or (origin is None and method in _READING and mode == b"navigate")
        scheme, _, authority = (origin or b"").lower().partition(b"://")
        default = {b"http": b":80", b"https": b":443"}.get(scheme, b"")
        return bool(authority) and host is not None and authority == host.lower().removesuffix(default)


def _hosts(names: Iterable[str]) -> frozenset[str]:
    return frozenset(name.lower().strip("[]").rstrip(".") for name in names)
