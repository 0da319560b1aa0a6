"""A client that costs little: raw HTTP/1.1 over kept connections, so that the server is what is measured.

It reads answers with a Content-Length and chunked ones, and nothing else that HTTP allows; both sides of a comparison
are asked by it.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import urlsplit

_END = b"\r\n\r\n"
_LAST_CHUNK = b"0\r\n\r\n"


@dataclass
class Sample:
    """What one round of load found.

    Attributes:
        seconds: How long it lasted.
        latencies: Of each request, in seconds, from its first byte sent to the last received.
        bytes_received: Of all answers, heads included.
    """

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    bytes_received: int = 0

    @property
    def per_second(self) -> float:
        """Requests per second."""
        return len(self.latencies) / self.seconds


class _Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self._data = bytearray()
        self._answer: asyncio.Future[bytes] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, error: Exception | None) -> None:
        if self._answer and not self._answer.done():
            self._answer.set_exception(error or ConnectionResetError("closed in the middle of an answer"))

    def data_received(self, data: bytes) -> None:
        self._data += data
        if self._answer and not self._answer.done() and self._complete():
            self._answer.set_result(bytes(self._data))
            self._data.clear()

    def _complete(self) -> bool:
        end = self._data.find(_END)
        if end < 0:
            return False
        head = bytes(self._data[:end]).lower()
        at = head.find(b"content-length:")
        if at >= 0:
            length = int(head[at + 15 :].split(b"\r\n", 1)[0])
            return len(self._data) >= end + 4 + length
        return self._data.endswith(_LAST_CHUNK)

    async def ask(self, request: bytes) -> bytes:
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        self._transport.close()


def post(url: str, body: bytes) -> bytes:
    """The bytes of a request."""
    at = urlsplit(url)
    return (
        f"POST {at.path} HTTP/1.1\r\nhost: {at.netloc}\r\ncontent-type: application/json\r\n"
        f"accept: */*\r\nuser-agent: benchmark\r\nauthorization: Bearer none\r\ncontent-length: {len(body)}\r\n\r\n"
    ).encode() + body


async def load(url: str, body: bytes, *, connections: int, seconds: float, status: int = 200) -> Sample:
    """Ask again and again over so many connections, each waiting for its answer, for so long.

    Raises:
        RuntimeError: An answer had another status.
    """
    at = urlsplit(url)
    loop = asyncio.get_running_loop()
    request = post(url, body)
    sample, expected = Sample(), f"HTTP/1.1 {status} ".encode()

    async def user(until: float) -> None:
        _, connection = await loop.create_connection(_Connection, at.hostname, at.port)
        try:
            while (begun := time.perf_counter()) < until:
                answer = await connection.ask(request)
                if not answer.startswith(expected):
                    raise RuntimeError(answer[:500].decode(errors="replace"))
                sample.latencies.append(time.perf_counter() - begun)
                sample.bytes_received += len(answer)
        finally:
            connection.close()

    begun = time.perf_counter()
    async with asyncio.TaskGroup() as users:
        for _ in range(connections):
            users.create_task(user(begun + seconds))
    sample.seconds = time.perf_counter() - begun
    return sample


async def once(url: str, body: bytes) -> bytes:
    """The body of one answer, chunks joined."""
    at = urlsplit(url)
    _, connection = await asyncio.get_running_loop().create_connection(_Connection, at.hostname, at.port)
    try:
        answer = await connection.ask(post(url, body))
    finally:
        connection.close()
    head, _, rest = answer.partition(_END)
    if b"chunked" not in head.lower():
        return rest
    body = b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        body += rest[: int(size, 16)]
        rest = rest[int(size, 16) + 2 :]
    return body
