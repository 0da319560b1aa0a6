"""Event streams as other servers send them (WHATWG HTML standard, section 9.2), cut into events, not decoded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from specserve.backends.http.connections import TooLarge

DONE = b"[DONE]"


class Event(NamedTuple):
    """One event, or a sign of life.

    Attributes:
        data: Its data lines, joined with line feeds.
        name: As the stream names it; ``message`` where it does not. ``comment`` for a comment, or for an event without
            data, as servers send them to keep a connection alive.
    """

    data: bytes
    name: str = "message"


_COMMENT = Event(b"", "comment")


class Events:
    """Feed it bytes as they come; it gives each event, however the bytes were split.

    Args:
        limit: Most bytes of one event.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._searched = 0  # bytes of the buffer in which no event ends
        self._after_cr = False
        self._first = True

    def feed(self, data: bytes) -> Iterator[Event]:
        """Take more bytes.

        Raises:
            TooLarge: An event is larger than the limit.
        """
        if self._after_cr or b"\r" in data:
            data = self._with_line_feeds(data)
        buffer = self._buffer
        buffer += data
        begin = 0
        while (end := buffer.find(b"\n\n", max(begin, self._searched))) >= 0:
            event = bytes(buffer[begin:end])
            begin = end + 2
            self._searched = begin
            if event:
                yield from self._read(event)
        del buffer[:begin]
        self._searched = max(0, len(buffer) - 1)
        if len(buffer) > self._limit:
            raise TooLarge

    def close(self) -> Iterator[Event]:
        """Take the end of the stream. An event without its blank line counts: what it says is whole or is no JSON."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        self._searched = 0
        if rest:
            yield from self._read(rest)

    def _read(self, event: bytes) -> Iterator[Event]:
        if len(event) > self._limit:
            raise TooLarge
        if self._first:
            self._first = False
            event = event.removeprefix(b"\xef\xbb\xbf")
        if event.startswith(b"data: ") and b"\n" not in event:  # as nearly every event of nearly every server
            yield Event(event[6:])
            return
        name, data = b"", []
        for line in event.split(b"\n"):
            if line.startswith(b"data:"):
                data.append(line[5:].removeprefix(b" "))
            elif line.startswith(b"event:"):
                name = line[6:].removeprefix(b" ")
        if any(data):
            yield Event(b"\n".join(data), name[:100].decode(errors="replace") or "message")
        elif event.strip(b"\n"):
            yield _COMMENT

    def _with_line_feeds(self, data: bytes) -> bytes:
        """CR and CRLF end lines too; the two halves of a CRLF may come apart."""
        if self._after_cr:
            data = data.removeprefix(b"\n")
        self._after_cr = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
