"""HTTP/1.1 on one connection: requests one after the other, each within limits of size and time (RFC 9112).

Bytes that came behind a request wait until it is answered, and are not looked at before.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import structlog
from starlette.types import ASGIApp

from specserve.http.connections import Connections, has_hung_up
from specserve.http.exchange import Exchange, refusal
from specserve.http.request_head import Head
from specserve.http.request_id import new_request_id
from specserve.http.request_reader import RequestReader
from specserve.spec.errors import APIError, RequestTimeout, Unavailable

_READ_AHEAD = 64 * 1024  # bytes of body, or of further requests, that wait at most (and what one read brings)
# A client may be sending while it is refused. Reading on for a moment lets it see the answer: closing at once would
# make its system throw the answer away.
_LINGER_SECONDS = 2.0
_LINGER_BYTES = 1024 * 1024
# That a client has left is seen only behind all that it sent. So what comes behind a request that takes long is read
# and thrown away, and the connection closed after the answer; a client that sends even more is cut off.
_READ_AHEAD_SECONDS = 1.0
_IGNORED_BYTES = 16 * 1024 * 1024
_NEVER = math.inf


@dataclass(slots=True)
class Site:
    """What the connections of a server share.

    Attributes:
        app: Who answers.
        connections: All of them, and their limits.
        accepted: Where the server finds them when it shuts down.
        tasks: Where the tasks of running requests are kept.
        root_path: Prefix under which a proxy serves this server.
        state: What the application's lifespan gave; each request gets a copy.
        default_headers: Gives the headers that every response has.
    """

    app: ASGIApp
    connections: Connections
    accepted: set[HTTPConnection]
    tasks: set[asyncio.Task[None]]
    root_path: str
    state: dict[str, Any]
    default_headers: Callable[[], list[tuple[bytes, bytes]]]


class HTTPConnection(asyncio.Protocol):
    """One connection of a client."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._limits = site.connections.limits
        self._reader = RequestReader(self._limits.heads)
        self._exchange: Exchange | None = None
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)
        self._loop: asyncio.AbstractEventLoop = cast("asyncio.AbstractEventLoop", None)
        self._addresses: dict[str, Any] = {}
        self._deadline = _NEVER  # when the client must have sent what is waited for
        self._stalled_since = _NEVER  # when it stopped reading
        self._unwritten = 0  # bytes that waited for it then
        self._paused = False
        self._paused_at = 0.0
        self._came = 0  # bytes of the body at hand, or after the refusal
        self._in_head = True  # the time for a head runs
        self._deaf = False  # nothing that comes is of interest any more
        self._lingers = False
        self._shuts_down = False
        self.writable = asyncio.Event()
        self.writable.set()

    @property
    def default_headers(self) -> list[tuple[bytes, bytes]]:
        """The headers that every response has."""
        return self._site.default_headers()

    # What the event loop says.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the first request."""
        self._transport = cast("asyncio.Transport", transport)
        self._loop = asyncio.get_running_loop()
        self._addresses = {
            "server": _address(transport.get_extra_info("sockname")),
            "client": _address(transport.get_extra_info("peername")),
        }
        self._deadline = self._loop.time() + self._limits.head
        self._site.accepted.add(self)
        if self._site.connections.add(self):
            self._site.connections.idle(self)
        else:
            self._refuse(Unavailable("The server has no room for another connection.", retry_after=1))

    def connection_lost(self, exc: Exception | None) -> None:
        """End the request that runs."""
        self._site.accepted.discard(self)
        self._site.connections.remove(self)
        self._deaf = True
        if self._exchange is not None:
            self._exchange.disconnect()
        self.writable.set()

    def eof_received(self) -> bool:
        """Take a client that sends no more for gone: that it still reads cannot be seen."""
        return False

    def pause_writing(self) -> None:
        """Give the client time to read."""
        self.writable.clear()
        self._stalled_since = self._loop.time()
        self._unwritten = self._transport.get_write_buffer_size()

    def resume_writing(self) -> None:
        """Go on: the client has read."""
        self._stalled_since = _NEVER
        if self._deaf:
            self._watch_last_bytes()
        self.writable.set()

    def data_received(self, data: bytes) -> None:
        """Take what the client sent."""
        if self._deaf:
            self._came += len(data)
            if self._came > (_LINGER_BYTES if self._lingers else _IGNORED_BYTES):
                self._transport.abort()
            return
        self._reader.feed(data)
        if self._exchange is None:
            self._next_request()
        elif not self._reader.body_complete:
            self._read_body(self._exchange)
        elif self._reader.buffered > _READ_AHEAD:
            self._pause_reading()

    # From one request to the next.

    def _next_request(self) -> None:
        try:
            head = self._reader.next_head()
        except APIError as error:
            self._refuse(error)
            return
        if head is None:
            if not self._in_head:
                self._in_head = True
                self._deadline = self._loop.time() + self._limits.head
            return
        self._came = 0
        exchange = self._exchange = Exchange(self, head, self._scope(head))
        exchange.keep_alive &= not self._shuts_down
        if self._reader.body_complete:
            self._deadline = _NEVER
            self._site.connections.at_work(self)
        else:
            self._deadline = self._loop.time() + self._limits.body
            self._site.connections.in_body(self)
            self._read_body(exchange)
        if self._reader.buffered > _READ_AHEAD:
            self._pause_reading()
        task = self._loop.create_task(exchange.run(self._site.app))
        self._site.tasks.add(task)
        task.add_done_callback(self._site.tasks.discard)

    def _scope(self, head: Head) -> dict[str, Any]:
        root_path = self._site.root_path
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": head.version,
            "scheme": "http",
            "method": head.method,
            "path": root_path + head.path,
            "raw_path": root_path.encode() + head.raw_path,
            "query_string": head.query,
            "root_path": root_path,
            "headers": head.headers,
            "state": self._site.state.copy(),
            **self._addresses,
        }

    def _read_body(self, exchange: Exchange) -> None:
        try:
            data = self._reader.read_body()
        except APIError as error:
            self._give_up_reading(exchange, error)
            return
        self._came += len(data)
        ended = self._reader.body_complete
        exchange.add_body(data, ended=ended)
        if ended:
            self._deadline = _NEVER
            self._site.connections.at_work(self)
        elif data:
            self._deadline += len(data) / self._limits.least_rate
            if exchange.unread > _READ_AHEAD:
                self._pause_reading()

    def _give_up_reading(self, exchange: Exchange, error: APIError) -> None:
        """Go on without the rest of the body. Nothing is put into a response that has begun."""
        self._deaf = True
        self._came = 0
        self._deadline = _NEVER
        self._site.connections.at_work(self)
        exchange.fail(error)

    def _ignore_the_rest(self, exchange: Exchange) -> None:
        self._deaf = True
        self._came = 0
        self._reader = RequestReader(self._limits.heads)
        exchange.keep_alive = False
        self._resume_reading()

    # What the exchange says.

    def write(self, data: bytes) -> None:
        """Send these bytes."""
        self._transport.write(data)

    def want_body(self) -> None:
        """Go on reading: the application has taken what came."""
        if self._paused and not self._deaf and not self._reader.body_complete:
            self._resume_reading()

    def response_complete(self) -> None:
        """Go on to the next request, or close."""
        exchange, self._exchange = self._exchange, None
        if exchange is None or self._transport.is_closing():
            return
        if not exchange.keep_alive or self._deaf:
            self._close(unread=not self._reader.body_complete or self._reader.buffered > 0 or self._deaf)
            return
        self._resume_reading()
        self._site.connections.idle(self)
        self._in_head = self._reader.buffered > 0
        self._deadline = self._loop.time() + (self._limits.head if self._in_head else self._limits.idle)
        if self._in_head:
            self._loop.call_soon(self._next_request_unless_closed)

    def _next_request_unless_closed(self) -> None:
        if self._exchange is None and not self._deaf and not self._transport.is_closing():
            self._next_request()

    def abort(self) -> None:
        """Close now; what has not been sent is lost."""
        self._transport.abort()

    # Ends.

    def shutdown(self) -> None:
        """Close once the request that runs is answered."""
        self._shuts_down = True
        if self._exchange is not None:
            self._exchange.keep_alive = False
        elif not self._deaf:
            self._close(unread=False)

    def drop(self) -> None:
        """Close to make room for another."""
        if self._exchange is None:
            self._transport.abort()
        else:
            self._give_up_reading(self._exchange, RequestTimeout("The server needed the connection for others."))

    def check(self, now: float) -> None:
        """Look whether the client has done what it should have done by now, and whether it is still there."""
        if self._stalled_since != _NEVER:
            read = max(0, self._unwritten - self._transport.get_write_buffer_size())
            if now > self._stalled_since + self._limits.write + read / self._limits.least_rate:
                self._log("client does not read")
                self._transport.abort()
                return
        if self._paused:
            sock = self._transport.get_extra_info("socket")
            if sock is not None and has_hung_up(sock):
                self._transport.abort()
            elif (
                self._exchange is not None
                and self._reader.body_complete
                and now > self._paused_at + _READ_AHEAD_SECONDS
            ):
                self._ignore_the_rest(self._exchange)
        elif now > self._deadline:
            self._too_late()

    def _too_late(self) -> None:
        if self._deaf:
            if self._transport.get_write_buffer_size():
                self._watch_last_bytes()  # the client has not read the answer yet
                self._deadline = self._loop.time() + _LINGER_SECONDS
            else:
                self._transport.abort()
        elif self._exchange is not None:
            self._give_up_reading(self._exchange, RequestTimeout("The request body did not come in time."))
        elif self._reader.buffered:
            self._refuse(RequestTimeout("The request did not come in time."))
        else:
            self._close(unread=False)

    def _refuse(self, error: APIError) -> None:
        """Answer what is no request, and close."""
        request_id = new_request_id()
        self._log("request refused", status=error.status, reason=error.message, request_id=request_id.decode())
        self._transport.write(refusal(error, request_id, self.default_headers))
        self._close(unread=True)

    def _close(self, *, unread: bool) -> None:
        """Close once everything is sent; if the client may still be sending, let it read the answer first."""
        self._deaf = True
        self._site.connections.idle(self)
        self._watch_last_bytes()
        if not unread:
            self._deadline = _NEVER
            self._transport.close()
            return
        self._resume_reading()
        self._lingers = True
        self._came = self._reader.buffered
        self._deadline = self._loop.time() + _LINGER_SECONDS
        if self._transport.can_write_eof():
            with contextlib.suppress(OSError, RuntimeError):
                self._transport.write_eof()

    def _watch_last_bytes(self) -> None:
        """Bound the time in which the client must read what is left: nobody else waits for that any more."""
        self._unwritten = self._transport.get_write_buffer_size()
        if self._unwritten and self._stalled_since == _NEVER:
            self._stalled_since = self._loop.time()

    def _pause_reading(self) -> None:
        if not self._paused and not self._transport.is_closing():
            self._paused = True
            self._paused_at = self._loop.time()
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        if self._paused and not self._transport.is_closing():
            self._paused = False
            self._deadline += self._loop.time() - self._paused_at
            self._transport.resume_reading()

    def _log(self, event: str, **facts: object) -> None:
        structlog.get_logger("specserve.http").info(event, **facts)


def _address(found: Any) -> tuple[str, int] | None:
    return (str(found[0]), int(found[1])) if isinstance(found, tuple) and len(found) >= 2 else None
