"""All connections of a server: how many there can be, and what becomes of those that stand still."""

from __future__ import annotations

import asyncio
import select
import socket
import sys
from dataclasses import dataclass, field
from typing import Protocol

from specserve.http.request_head import HeadLimits

if sys.platform != "win32":
    import resource

_MOST_BY_DEFAULT = 10_000
_DESCRIPTORS_FOR_OTHERS = 256  # files, pipes to engines, connections to upstreams
_LEAST = 8
_HANGUP = getattr(select, "POLLRDHUP", 0)


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """What a connection may take, in bytes and seconds.

    Attributes:
        heads: What the head of a request may be.
        idle: Between two requests.
        head: For the head of a request, from its first byte.
        body: For the body of a request, and a second more for each `least_rate` bytes.
        write: For the client to read what waits for it, and a second more for each `least_rate` bytes.
        connections: Most connections at once; 0 for what the process's limit of open files allows.
        least_rate: Bytes a second that a client must send or read at least, in the long run.
    """

    heads: HeadLimits = field(default_factory=HeadLimits)
    idle: float = 75
    head: float = 20
    body: float = 30
    write: float = 30
    connections: int = 0
    least_rate: int = 16 * 1024

    @property
    def most_connections(self) -> int:
        """Most connections at once."""
        return self.connections or _as_many_as_files_allow()


def _as_many_as_files_allow() -> int:
    if sys.platform == "win32":
        return _MOST_BY_DEFAULT
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return _MOST_BY_DEFAULT
    return max(_LEAST, min(_MOST_BY_DEFAULT, max(files - _DESCRIPTORS_FOR_OTHERS, files // 2)))


class Watched(Protocol):
    """A connection, as far as it is watched."""

    def check(self, now: float) -> None:
        """Look whether something that was to come has not come in time, by the clock of the event loop."""

    def drop(self) -> None:
        """Close to make room for another."""


class Connections:
    """Every open connection; those that can be dropped to make room, in the order in which they came to stand still.

    Each is looked at once a while: a timer per request would cost more than the request's parsing.
    """

    def __init__(self, limits: ConnectionLimits) -> None:
        self.limits = limits
        self.dropped = 0
        self._most = limits.most_connections
        self._open: set[Watched] = set()
        self._idle: dict[Watched, None] = {}
        self._in_body: dict[Watched, None] = {}
        self._pause = min(1.0, *(seconds / 4 for seconds in (limits.idle, limits.head, limits.body, limits.write)))
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._open)

    def add(self, connection: Watched) -> bool:
        """Take a new connection; if there are too many, drop one that has no request running.

        Returns:
            Whether there is room: False if all the others are at work.
        """
        self._open.add(connection)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._pause, self._look)
        if len(self._open) <= self._most:
            return True
        oldest = next(iter(self._idle), None) or next(iter(self._in_body), None)
        if oldest is None:
            return False
        self.at_work(oldest)
        self.dropped += 1
        oldest.drop()
        return True

    def remove(self, connection: Watched) -> None:
        """Forget one that is closed."""
        self._open.discard(connection)
        self.at_work(connection)

    def idle(self, connection: Watched) -> None:
        """It waits for a request, or for the rest of its head: the first to be dropped."""
        self._in_body.pop(connection, None)
        self._idle[connection] = None

    def in_body(self, connection: Watched) -> None:
        """It waits for the rest of a body: the next to be dropped."""
        self._idle.pop(connection, None)
        self._in_body[connection] = None

    def at_work(self, connection: Watched) -> None:
        """Its request has come and is not answered: it is not dropped."""
        self._idle.pop(connection, None)
        self._in_body.pop(connection, None)

    def _look(self) -> None:
        self._timer = None
        loop = asyncio.get_running_loop()
        now = loop.time()
        for connection in list(self._open):
            connection.check(now)
        if self._open:
            self._timer = loop.call_later(self._pause, self._look)


def has_hung_up(sock: socket.socket) -> bool:
    """Whether the client has closed, even if not all that it sent is read. False where that cannot be seen."""
    if not _HANGUP:
        return False
    poller = select.poll()
    poller.register(sock.fileno(), _HANGUP)
    return bool(poller.poll(0))
