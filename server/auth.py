"""API keys: who may ask."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
import secrets
from collections.abc import Iterable
from typing import Self

from starlette.types import ASGIApp, Receive, Scope, Send

from specserve.backends.errors import Unauthenticated
from specserve.errors import error_response
from specserve.settings import Settings

# A health check has no key: load balancers and orchestrators cannot be given one.
OPEN_PATHS = frozenset({"/health", "/v1/health"})

_LONGEST_HEADER = 4096


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens on `host`; False whenever that is not certain."""
    if host.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def generate_key() -> str:
    """Make a key that cannot be guessed."""
    return f"sk-specserve-{secrets.token_urlsafe(32)}"


class KeyRing:
    """The keys that open this server. An empty ring leaves it open to everyone.

    Only digests are kept, so a dump of the process's objects shows no key.
    """

    def __init__(self, keys: Iterable[str] = ()) -> None:
        self._digests = tuple(hashlib.sha256(key.encode()).digest() for key in keys)

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """The ring of the configured keys.

        Raises:
            ValueError: There is none, and the server would be open to the network.
        """
        if not settings.api_keys and not is_loopback(settings.host):
            raise ValueError(f"a server on {settings.host} needs an API key")
        return cls(key.get_secret_value() for key in settings.api_keys)

    def __bool__(self) -> bool:
        """Whether a key is needed."""
        return bool(self._digests)

    def check(self, authorization: str | None) -> None:
        """Let a request pass by its Authorization header: ``Bearer KEY``, or ``Basic`` with the key as password.

        Raises:
            Unauthenticated: The header is absent, cannot be read, or holds no key of this ring.
        """
        if not self._digests:
            return
        if not authorization:
            raise Unauthenticated("You must give an API key: send it in the header 'Authorization: Bearer YOUR_KEY'.")
        digest = hashlib.sha256(_key_in(authorization)).digest()
        # Every key is compared, whichever matches: the time taken tells nothing about the ring.
        known = False
        for mine in self._digests:
            known |= hmac.compare_digest(digest, mine)
        if not known:
            raise Unauthenticated("The API key is wrong.")


def _key_in(authorization: str) -> bytes:
    scheme, _, credentials = authorization.partition(" ")
    value = credentials.strip().encode("latin-1", "replace")
    if len(authorization) > _LONGEST_HEADER or scheme.lower() not in {"bearer", "basic"} or not value:
        raise Unauthenticated("The Authorization header must be 'Bearer YOUR_KEY', or Basic with the key as password.")
    if scheme.lower() == "bearer":
        return value
    try:
        _, colon, password = base64.b64decode(value, validate=True).partition(b":")
    except binascii.Error:
        colon = b""
    if not colon:
        raise Unauthenticated("The Basic credentials in the Authorization header cannot be read.")
    return password


class AuthMiddleware:
    """Refuses requests without a key, on every path but health. Pure ASGI.

    Belongs inside the CORS middleware: a browser sends no key with its preflight request.
    """

    def __init__(self, app: ASGIApp, keyring: KeyRing) -> None:
        self._app = app
        self._keyring = keyring

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on if its key is right, else answer 401."""
        if scope["type"] == "http" and self._keyring and not _is_open(scope):
            # A second Authorization header would leave open which of the two counts.
            headers = [value for name, value in scope["headers"] if name == b"authorization"]
            try:
                self._keyring.check(headers[0].decode("latin-1") if len(headers) == 1 else None)
            except Unauthenticated as error:
                await error_response(error)(scope, receive, send)
                return
        elif scope["type"] == "websocket" and self._keyring:
            await send({"type": "websocket.close", "code": 1008})
            return
        await self._app(scope, receive, send)


def _is_open(scope: Scope) -> bool:
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", "")) in OPEN_PATHS
