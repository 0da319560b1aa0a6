"""A client that reads a stream as it arrives and says when each piece did.

Locust's own clients read in blocks or by line and hide how a stream ended. Here an answer that was cut is told from one
that ended, and each piece has the moment when the kernel took it off the network: a process that is busy, or that is
kept from running, reads late but does not measure wrong. Where the kernel tells no moments (TLS, systems other than
Linux), it is when our process read the piece.
"""

from __future__ import annotations

import socket
import ssl
import struct
import sys
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import httptools

clock = time.perf_counter
"""Seconds; on one machine the same in all processes."""

_BLOCK = 65536
_TIMESTAMPNS = 35  # SO_TIMESTAMPNS of Linux, which Python has no name for
_STAMP = struct.Struct("qq")
_LATEST = 10.0


class ConnectFailed(Exception):
    """No connection could be made."""


class Cut(Exception):
    """The connection ended, or broke, before the answer did."""


class Connection:
    """A connection, and whether it has carried an answer before."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.reused = False
        self._stamped = sys.platform == "linux" and not isinstance(sock, ssl.SSLSocket)
        if self._stamped:
            sock.setsockopt(socket.SOL_SOCKET, _TIMESTAMPNS, 1)

    def receive(self) -> tuple[bytes, float]:
        """What has come, and when; of several packets at once, when the last of them came."""
        if not self._stamped:
            data = self.sock.recv(_BLOCK)
            return data, clock()
        data, notes, _, _ = self.sock.recvmsg(_BLOCK, socket.CMSG_SPACE(_STAMP.size))
        return data, clock() - _lateness(notes)

    def alive(self) -> bool:
        """Whether the server still holds it: one that is at rest must have nothing to read."""
        self.sock.setblocking(False)
        try:
            self.sock.recv(1)
        except (BlockingIOError, ssl.SSLWantReadError):
            return True
        except OSError:
            return False
        finally:
            self.sock.settimeout(None)
        return False

    def close(self) -> None:
        """Close it."""
        self.sock.close()


def _lateness(notes: list[tuple[int, int, bytes]]) -> float:
    """How long ago the kernel took in what was just read, in seconds."""
    for level, kind, value in notes:
        if level == socket.SOL_SOCKET and kind == _TIMESTAMPNS and len(value) == _STAMP.size:
            seconds, nanoseconds = _STAMP.unpack(value)
            late = time.time() - seconds - nanoseconds / 1e9
            # Two readings of the same clock: only one that was set between them can make this absurd.
            return late if 0 <= late < _LATEST else 0.0
    return 0.0


class Client:
    """Connections to one address, kept open between requests.

    Args:
        base_url: With the version part.
        key: Sent as bearer token.
        connect_timeout: Seconds.
    """

    def __init__(self, base_url: str, key: str | None = None, connect_timeout: float = 10.0) -> None:
        parts = urlsplit(base_url)
        self._secure = parts.scheme == "https"
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if self._secure else 80)
        self._context = ssl.create_default_context() if self._secure else None
        self._connect_timeout = connect_timeout
        self._idle: list[Connection] = []
        head = [
            f"POST {parts.path.rstrip('/')}/chat/completions HTTP/1.1",
            f"Host: {parts.netloc}",
            "Content-Type: application/json",
            "Accept: text/event-stream",
            "Accept-Encoding: identity",
            "User-Agent: specserve-loadtest",
        ]
        if key:
            head.append(f"Authorization: Bearer {key}")
        self._head = "\r\n".join(head)

    def post(self, body: bytes) -> Answer:
        """Take or make a connection for a request; `Answer.pieces` sends it and reads what comes back.

        Raises:
            ConnectFailed: There is no connection.
        """
        return Answer(self, f"{self._head}\r\nContent-Length: {len(body)}\r\n\r\n".encode("latin-1") + body)

    def take(self) -> Connection:
        """A connection that rests, or else a new one."""
        while self._idle:
            connection = self._idle.pop()
            if connection.alive():
                connection.reused = True
                return connection
            connection.close()
        return self.open()

    def open(self) -> Connection:
        """A new connection."""
        try:
            sock = socket.create_connection((self._host, self._port), self._connect_timeout)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._context is not None:
                sock = self._context.wrap_socket(sock, server_hostname=self._host)
        except OSError as error:
            raise ConnectFailed(str(error)) from error
        sock.settimeout(None)  # time is kept for the whole request, by who sends it
        return Connection(sock)

    def give_back(self, connection: Connection) -> None:
        """Keep a connection for the next request."""
        self._idle.append(connection)

    def close(self) -> None:
        """Close the connections that rest."""
        while self._idle:
            self._idle.pop().close()


class Answer:
    """An answer on its way. Read `pieces` to their end, then `close`.

    Attributes:
        connected: When the connection stood.
        reused: Whether it was open before.
        first_byte: When the first bytes of the answer came.
        headers: Of the answer, with names in lower case.
        framed: Whether the answer says where it ends; if not, its end and a cut look the same.
    """

    def __init__(self, client: Client, message: bytes) -> None:
        self.first_byte: float | None = None
        self.headers: dict[str, str] = {}
        self.framed = False
        self._client = client
        self._message = message
        self._complete = False
        self._keep = False
        self._parser = httptools.HttpResponseParser(self)
        self._body: list[bytes] = []
        self._connection = client.take()
        self._closed = False
        self.reused = self._connection.reused
        self.connected = clock()

    @property
    def status(self) -> int:
        """HTTP status; 0 before it is known."""
        return self._parser.get_status_code() if self.headers or self._complete else 0

    def pieces(self) -> Iterator[tuple[float, bytes]]:
        """Send the request; then parts of the body, each with the moment when it came.

        Raises:
            ConnectFailed: The connection had been given up by the server, and there is no other.
            Cut: The connection ended before the answer did.
        """
        data, now = self._begin()
        while data:
            try:
                self._parser.feed_data(data)
            except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
                raise Cut(f"not HTTP: {error}") from error
            if self._body:
                yield now, b"".join(self._body)
                self._body.clear()
            if self._complete:
                return
            data, now = self._receive()
        if self.framed or not self.headers:
            msg = "the connection was closed in the middle of the answer"
            raise Cut(msg)

    def _begin(self) -> tuple[bytes, float]:
        """Send, and wait for the first bytes."""
        data, now = b"", 0.0
        try:
            self._connection.sock.sendall(self._message)
            data, now = self._receive()
        except (OSError, Cut) as error:
            if not self.reused:
                raise Cut(str(error)) from error
        if not data and self.reused:
            # The server gave the resting connection up in this very moment, without having seen the request.
            self._connection.close()
            self.reused = False
            self._connection = self._client.open()
            self.connected = clock()
            return self._begin()
        self.first_byte = now if data else None
        return data, now

    def _receive(self) -> tuple[bytes, float]:
        try:
            return self._connection.receive()
        except OSError as error:
            raise Cut(str(error)) from error

    def close(self) -> None:
        """Keep the connection if the answer was read whole, else close it."""
        if self._complete and self._keep and not self._closed:
            self._client.give_back(self._connection)
        else:
            self._connection.close()
        self._closed = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """See httptools."""
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """See httptools."""
        self.framed = "content-length" in self.headers or "chunked" in self.headers.get("transfer-encoding", "").lower()

    def on_body(self, body: bytes) -> None:
        """See httptools."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """See httptools; an interim answer such as 100 is not the end."""
        if self._parser.get_status_code() >= 200:
            self._complete = True
            self._keep = self._parser.should_keep_alive()  # the parser forgets afterwards
        else:
            self.headers.clear()
