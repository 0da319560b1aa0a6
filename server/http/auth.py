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

from specserve.config.settings import Settings
from specserve.http.errors import error_response
from specserve.spec.errors import Unauthenticated

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
    """The keys that open this server, those of its administrators among them. Without keys of others it is open to all.

    Only digests are kept, so a dump of the process's objects shows no key.
    """

    def __init__(self, keys: Iterable[str] = (), admin_keys: Iterable[str] = ()) -> None:
        self._digests = tuple(hashlib.sha256(key.encode()).digest() for key in keys)
        self._admin_digests = tuple(hashlib.sha256(key.encode()).digest() for key in admin_keys)

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """The ring of the configured keys.

        Raises:
            ValueError: There is none, and the server would be open to the network.
        """
        if not settings.api_keys and not is_loopback(settings.host):
            raise ValueError(f"a server on {settings.host} needs an API key")
        return cls(
            (key.get_secret_value() for key in settings.api_keys),
            (key.get_secret_value() for key in settings.admin_keys),
        )

    def __bool__(self) -> bool:
        """Whether a key is needed."""
        return bool(self._digests)

    @property
    def holds_keys(self) -> bool:
        """Whether it makes a difference which key a request has."""
        return bool(self._digests or self._admin_digests)

    def check(self, authorization: str | None) -> bool:
        """Let a request pass by its Authorization header: ``Bearer KEY``, or ``Basic`` with the key as password.

        Returns:
            Whether the key is an administrator's.

        Raises:
            Unauthenticated: The header is absent, cannot be read, or holds no key of this ring, and one is needed.
        """
        if not self.holds_keys:
            return False
        try:
            digest = hashlib.sha256(_key_in(authorization)).digest()
        except Unauthenticated:
            if self._digests:
                raise
            return False
        # Every key is compared, whichever matches: the time taken tells nothing about the ring.
        known = _among(digest, self._digests)
        admin = _among(digest, self._admin_digests)
        if self._digests and not (known or admin):
            raise Unauthenticated("The API key is wrong.")
        return admin


def _among(digest: bytes, mine: Iterable[bytes]) -> bool:
    found = False
    for each in mine:
        found |= hmac.compare_digest(digest, each)
    return found


def _key_in(authorization: str | None) -> bytes:
    if not authorization:
        raise Unauthenticated("You must give an API key: send it in the header 'Authorization: Bearer YOUR_KEY'.")
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
        """Pass the request on if its key is right, with `admin` in its state if it is an admin key; else answer 401."""
        if scope["type"] == "http":
            admin = False
            if self._keyring.holds_keys and not _is_open(scope):
                # A second Authorization header would leave open which of the two counts.
                headers = [value for name, value in scope["headers"] if name == b"authorization"]
                try:
                    admin = self._keyring.check(headers[0].decode("latin-1") if len(headers) == 1 else None)
                except Unauthenticated as error:
                    await error_response(error)(scope, receive, send)
                    return
            scope.setdefault("state", {})["admin"] = admin
        elif scope["type"] == "websocket" and self._keyring:
            await send({"type": "websocket.close", "code": 1008})
            return
        await self._app(scope, receive, send)


def _is_open(scope: Scope) -> bool:
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", "")) in OPEN_PATHS
