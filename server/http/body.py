"""Reading a request body within its limits."""

from __future__ import annotations

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from specserve.http.bodies_in_flight import BodyRoom
from specserve.http.content_encoding import is_gzip, unpacked
from specserve.http.off_loop import OffLoop
from specserve.spec.errors import RequestTooLarge, UnsupportedMediaType

_JSON = "application/json"


def check_headers(scope: Scope) -> None:
    """Refuse a body for what its headers say. A request without a body may say what it likes.

    Raises:
        UnsupportedMediaType: The content type is not JSON in UTF-8, or it is packed in a way that we do not unpack.
    """
    if not header(scope, b"transfer-encoding") and header(scope, b"content-length", "0") == "0":
        return
    if not _is_json(header(scope, b"content-type", _JSON)):
        raise UnsupportedMediaType("The request body must be sent as Content-Type: application/json, in UTF-8.")
    is_gzip(header(scope, b"content-encoding"))


async def read_body(scope: Scope, receive: Receive, limit: int, room: BodyRoom, off_loop: OffLoop) -> bytes | bytearray:
    """Read the whole body, announced by Content-Length or sent in chunks, packed or not.

    Args:
        scope: The ASGI scope.
        receive: The ASGI channel; afterwards only a disconnect can come from it.
        limit: Most bytes to accept, packed and unpacked.
        room: Counts the bytes that are held.
        off_loop: Runs work on large bodies.

    Raises:
        RequestTooLarge: More was announced, or came; the rest is not read.
        Overloaded: The server holds as many bytes of bodies as it can.
        InvalidRequest: It says that it is gzip and is not.
        ClientDisconnect: The client left in the middle.
    """
    announced = header(scope, b"content-length")
    if announced.isdigit() and int(announced) > limit:
        raise _too_large(limit)
    body = await _received(receive, limit, room)
    if body and is_gzip(header(scope, b"content-encoding")):
        return await _unpacked(body, limit, room, off_loop)
    return body


async def _received(receive: Receive, limit: int, room: BodyRoom) -> bytes | bytearray:
    first: bytes = b""
    body: bytearray | None = None
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        part: bytes = message.get("body", b"")
        size = len(part) + len(first if body is None else body)
        if size > limit:
            raise _too_large(limit)
        room.grow(size)
        if not first:
            first = part
        else:
            body = bytearray(first) if body is None else body
            body += part
        if not message.get("more_body", False):
            return first if body is None else body


async def _unpacked(packed: bytes | bytearray, limit: int, room: BodyRoom, off_loop: OffLoop) -> bytearray:
    parts = unpacked(packed)
    body = bytearray()
    while (part := await off_loop(lambda: next(parts, None), len(packed) + len(body))) is not None:
        if len(body) + len(part) > limit:
            raise _too_large(limit)
        room.grow(len(packed) + len(body) + len(part))
        body += part
    return body


def header(scope: Scope, name: bytes, otherwise: str = "") -> str:
    """The first header of this name; the server gives names in lower case."""
    for found, value in scope["headers"]:
        if found == name:
            return bytes(value).decode("latin-1")
    return otherwise


def _is_json(content_type: str) -> bool:
    if content_type == _JSON:
        return True
    media_type, *parameters = content_type.lower().split(";")
    charset = "utf-8"
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "charset":
            charset = value.strip().strip('"')
    return media_type.strip() == _JSON and charset in {"utf-8", "utf8"}


def _too_large(limit: int) -> RequestTooLarge:
    return RequestTooLarge(f"The request body is larger than the limit of {limit} bytes.")
