"""One request and its response, between the connection and the application (ASGI 3, HTTP 2.3)."""

from __future__ import annotations

import asyncio
import http
from typing import Any, Protocol

import structlog
from starlette.types import ASGIApp, Message, Scope

from specserve.http.request_head import Head
from specserve.http.request_id import HEADER, new_request_id
from specserve.spec.errors import APIError

STATUS_LINES: dict[int, bytes] = {
    status.value: b"HTTP/1.1 %d %b\r\n" % (status.value, status.phrase.encode()) for status in http.HTTPStatus
}
_NO_BODY = frozenset({204, 304})
# The connection decides over these.
_OURS = frozenset({b"connection", b"transfer-encoding"})


class Wire(Protocol):
    """What an exchange needs of its connection."""

    writable: asyncio.Event

    @property
    def default_headers(self) -> list[tuple[bytes, bytes]]:
        """The headers that every response has."""

    def write(self, data: bytes) -> None:
        """Send these bytes."""

    def want_body(self) -> None:
        """Go on reading the body."""

    def response_complete(self) -> None:
        """All of the response has been written."""

    def abort(self) -> None:
        """Give the connection up: the response cannot be completed."""


class Exchange:
    """A request that is being answered.

    Attributes:
        keep_alive: Whether the connection goes on after the response.
        started: Whether the response has begun.
        complete: Whether all of it has been written.
        body_taken: Whether the application has read the body to its end.
    """

    __slots__ = (
        "_body",
        "_body_ended",
        "_changed",
        "_chunked",
        "_default_headers",
        "_end_told",
        "_failure",
        "_gone",
        "_head",
        "_left",
        "_scope",
        "_silent",
        "_start",
        "_wire",
        "body_taken",
        "complete",
        "keep_alive",
        "started",
    )

    def __init__(self, wire: Wire, head: Head, scope: Scope) -> None:
        self._wire = wire
        self._head = head
        self._scope = scope
        self._body: list[bytes] = []
        self._body_ended = self.body_taken = head.length == 0
        self._end_told = False
        self._changed: asyncio.Event | None = None  # made when someone waits: most requests are over before
        self._failure: APIError | None = None
        self._gone = False
        self._start: Message | None = None
        self._silent = self._chunked = False
        self._left: int | None = None
        self.keep_alive = head.keep_alive
        self.started = self.complete = False

    # What the connection says.

    def add_body(self, data: bytes, *, ended: bool) -> None:
        """Take a part of the body."""
        if data:
            self._body.append(data)
        self._body_ended = ended
        self._wake()

    @property
    def unread(self) -> int:
        """Bytes of the body that the application has not taken."""
        return sum(map(len, self._body))

    def fail(self, error: APIError) -> None:
        """The body cannot be read to its end: `receive` raises the error, if the application still wants the body."""
        self._failure = error
        self.keep_alive = False
        self._wake()

    def disconnect(self) -> None:
        """The client is gone."""
        self._gone = True
        self._wake()

    def _wake(self) -> None:
        if self._changed is not None:
            self._changed.set()

    # What the application sees.

    async def run(self, app: ASGIApp) -> None:
        """Run the application; whatever it does, the response is completed or the connection given up."""
        try:
            await app(self._scope, self.receive, self.send)
        except APIError as error:
            await self._answer_with(error)
        except (asyncio.CancelledError, ConnectionResetError):
            self._wire.abort()  # broken off on purpose, by someone who has said why
        except Exception as error:  # noqa: BLE001  the last resort
            structlog.get_logger("specserve.http").error("the application crashed", exc_info=error)
            await self._answer_with(APIError("The server had an error while processing your request."))
        else:
            if not self.complete and not self._gone:
                structlog.get_logger("specserve.http").error("the application did not complete its response")
                await self._answer_with(APIError("The server failed to answer."))

    async def _answer_with(self, error: APIError) -> None:
        if self.started:
            if not self.complete:
                self._wire.abort()
            return
        self._start = None
        headers = [(b"content-type", b"application/json"), (HEADER, new_request_id()), (b"connection", b"close")]
        body = error.to_json()
        headers.append((b"content-length", b"%d" % len(body)))
        await self.send({"type": "http.response.start", "status": error.status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})

    async def receive(self) -> Message:
        """The next part of the body, or that the client is gone or the response complete.

        Raises:
            APIError: The rest of the body cannot be read.
        """
        while True:
            if self._gone or self.complete:
                return {"type": "http.disconnect"}
            if self._body or (self._body_ended and not self._end_told):
                body, self._body = self._body, []
                self.body_taken = self._end_told = self._body_ended
                self._wire.want_body()
                data = body[0] if len(body) == 1 else b"".join(body)
                return {"type": "http.request", "body": data, "more_body": not self._body_ended}
            if self._failure is not None and not self.body_taken:
                raise self._failure
            if self._head.expects_continue and not self.started and not self.body_taken:
                self._head.expects_continue = False
                self._wire.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            if self._changed is None:
                self._changed = asyncio.Event()
            self._changed.clear()
            await self._changed.wait()

    async def send(self, message: Message) -> None:
        """Write a part of the response, once the client has read enough of what came before.

        Nothing is written for a client that is gone.
        """
        if not self._wire.writable.is_set():
            await self._wire.writable.wait()
        if self._gone:
            return
        kind = message["type"]
        if self._start is None:
            if kind != "http.response.start":
                raise RuntimeError(f"a response cannot begin with {kind!r}")
            self._start = message  # written with the first part of the body, as ASGI says
            return
        if kind != "http.response.body" or self.complete:
            raise RuntimeError(f"{kind!r} came behind the {'end' if self.complete else 'start'} of a response")
        body: bytes = message.get("body", b"")
        more: bool = message.get("more_body", False)
        head = b""
        if not self.started:
            self.started = True
            head = self._begin(self._start)
        if self._silent:
            body = b""
        elif self._chunked:
            if body:
                body = b"%x\r\n%b\r\n" % (len(body), body) if more else b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
            elif not more:
                body = b"0\r\n\r\n"
        elif self._left is not None:
            self._left -= len(body)
            if self._left < 0 or (self._left and not more):
                raise RuntimeError("the response's body is not as long as its Content-Length says")
        if head or body:
            self._wire.write(head + body if head else body)
        if not more:
            self.complete = True
            self._wake()
            self._wire.response_complete()

    def _begin(self, start: Message) -> bytes:
        """The head of the response, and how its body is sent."""
        status: int = start["status"]
        length = None
        lines = [STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status]
        for name, value in [*self._wire.default_headers, *start.get("headers", ())]:
            if b"\n" in value or b"\r" in value or b"\n" in name or b"\r" in name:
                raise RuntimeError("a response header holds a line break")
            name = name.lower()  # noqa: PLW2901  the same name
            if name in _OURS:
                if name == b"connection" and value.lower() == b"close":
                    self.keep_alive = False
                continue
            if name == b"content-length":
                length = int(value)
            lines += (name, b": ", value, b"\r\n")
        self._silent = self._head.method == "HEAD" or status in _NO_BODY
        if not self._silent:
            self._left = length
            if length is None:
                if self._head.version == "1.1":
                    self._chunked = True
                    lines.append(b"transfer-encoding: chunked\r\n")
                else:
                    self.keep_alive = False  # the end of the connection is the end of the body
        if not self.body_taken:
            self.keep_alive = False  # what the application did not want to read is not read to find the next request
        if not self.keep_alive:
            lines.append(b"connection: close\r\n")
        lines.append(b"\r\n")
        return b"".join(lines)


def refusal(error: APIError, request_id: bytes, default_headers: list[tuple[bytes, bytes]]) -> bytes:
    """A whole response, for what is refused before there is a request that the application could see."""
    body = error.to_json()
    headers: list[Any] = [
        *default_headers,
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (HEADER, request_id),
        (b"connection", b"close"),
    ]
    lines = [STATUS_LINES[error.status], *(b"%b: %b\r\n" % header for header in headers), b"\r\n", body]
    return b"".join(lines)
