"""Reading a request body within its limit."""

from __future__ import annotations

from typing import Any

import orjson
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from specserve.spec.errors import InvalidRequest, RequestTooLarge, UnsupportedMediaType

_JSON = b"application/json"


async def read_body(scope: Scope, receive: Receive, limit: int) -> bytes:
    """Read the whole body, announced by Content-Length or sent in chunks.

    Args:
        scope: The ASGI scope.
        receive: The ASGI channel; afterwards only a disconnect can come from it.
        limit: Most bytes to accept.

    Raises:
        RequestTooLarge: More was announced, or came; the rest is not read.
        ClientDisconnect: The client went away in the middle.
    """
    announced = _header(scope, b"content-length", b"")
    if announced.isdigit() and int(announced) > limit:
        raise _too_large(limit)
    parts: list[bytes] = []
    size = 0
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        part: bytes = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise _too_large(limit)
        parts.append(part)
        more = message.get("more_body", False)
    return b"".join(parts)


def parse_json(scope: Scope, body: bytes) -> Any:
    """Decode a JSON body strictly: UTF-8, no NaN, no lone surrogates, bounded nesting.

    Raises:
        UnsupportedMediaType: The content type is not JSON in UTF-8.
        InvalidRequest: The bytes are not JSON.
    """
    content_type = _header(scope, b"content-type", _JSON)
    if content_type != _JSON and not _is_json(content_type):
        raise UnsupportedMediaType("The request body must be sent as Content-Type: application/json.")
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(
            f"The request body is not valid JSON (line {error.lineno}, column {error.colno})."
        ) from error


def _is_json(content_type: bytes) -> bool:
    media_type, _, parameters = content_type.decode("latin-1").lower().partition(";")
    charset = parameters.partition("charset=")[2].strip().strip('"') or "utf-8"
    return media_type.strip() == _JSON.decode() and charset in {"utf-8", "utf8"}


def _header(scope: Scope, name: bytes, otherwise: bytes) -> bytes:
    """The first header of this name; the server gives names in lower case."""
    for found, value in scope["headers"]:
        if found == name:
            return bytes(value)
    return otherwise


def _too_large(limit: int) -> RequestTooLarge:
    return RequestTooLarge(f"The request body is larger than the limit of {limit} bytes.")
