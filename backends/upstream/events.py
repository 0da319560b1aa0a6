"""Event streams as upstreams send them (WHATWG HTML standard, section 9.2), cut into payloads without decoding them."""

from __future__ import annotations

from collections.abc import Iterator

from specserve.backends.upstream.client import TooLarge

DONE = b"[DONE]"


class Events:
    """Feed it bytes as they come; it gives the data of each event, however the bytes were split.

    Args:
        limit: Most bytes of one event.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._rest = b""
        self._after_cr = False
        self._first = True

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take more bytes.

        Raises:
            TooLarge: An event is larger than the limit.
        """
        if self._after_cr or b"\r" in data:
            data = self._with_line_feeds(data)
        *events, self._rest = (self._rest + data).split(b"\n\n")
        for event in events:
            yield from self._data(event)
        if len(self._rest) > self._limit:
            raise TooLarge

    def close(self) -> Iterator[bytes]:
        """Take the end of the stream. An event without its blank line counts: what it says is whole or is no JSON."""
        rest, self._rest = self._rest, b""
        yield from self._data(rest)

    def _data(self, event: bytes) -> Iterator[bytes]:
        if len(event) > self._limit:
            raise TooLarge
        if self._first:
            self._first = False
            event = event.removeprefix(b"\xef\xbb\xbf")
        if event.startswith(b"data: ") and b"\n" not in event:  # as nearly every event of nearly every server
            yield event[6:]
            return
        lines = [line[5:].removeprefix(b" ") for line in event.split(b"\n") if line.startswith(b"data:")]
        if any(lines):  # empty data keeps a connection alive, and says nothing
            yield b"\n".join(lines)

    def _with_line_feeds(self, data: bytes) -> bytes:
        """CR and CRLF end lines too; the two halves of a CRLF may come apart."""
        if self._after_cr:
            data = data.removeprefix(b"\n")
        self._after_cr = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
