"""Requests out of the bytes of one connection, one after the other. It knows nothing of sockets and time.

Only what belongs to the request at hand is ever parsed, and nothing is kept beyond the limits: the result does not
depend on the pieces in which the bytes came.
"""

from __future__ import annotations

import re

from specserve.http.request_head import Head, HeadLimits, fault_in, parse_head, parse_trailers
from specserve.spec.errors import HeadersTooLarge, InvalidRequest

_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?")
_SIZE, _DATA, _DATA_END, _TRAILERS = range(4)  # what is expected next of a body in chunks
_LONGEST_CHUNK_LINE = 256
_MOST_CHUNK_EXTENSIONS = 16 * 1024  # bytes in one body: nobody uses them
_MOST_TRAILERS = 8 * 1024  # bytes


class RequestReader:
    """Takes bytes, gives the head of a request, then its body, then the next head.

    Attributes:
        body_complete: Whether the body of the last request has been read to its end.
    """

    def __init__(self, limits: HeadLimits) -> None:
        self._limits = limits
        self._buffer = b""
        self._sound = 0  # bytes of a head that is not complete, and has no fault so far
        self._may_skip = True  # an empty line, which some clients send behind a body
        self._left = 0  # bytes of the body, or of the chunk at hand
        self._in_chunks = False
        self._expected = _SIZE
        self._extensions = 0
        self.body_complete = True

    @property
    def buffered(self) -> int:
        """Bytes that have come and are not read."""
        return len(self._buffer)

    def feed(self, data: bytes) -> None:
        """Take what came."""
        self._buffer = self._buffer + data if self._buffer else data

    def next_head(self) -> Head | None:
        """The next request, or None while its head is not complete. The body before it must have been read.

        Raises:
            APIError: This is no request, or its head is over a limit. What comes behind it cannot be understood.
        """
        if self._may_skip and len(self._buffer) >= 2:
            self._may_skip = False
            self._buffer = self._buffer.removeprefix(b"\r\n")
        buffer, limits = self._buffer, self._limits
        end = buffer.find(b"\r\n\r\n", max(0, self._sound - 3), limits.head)
        if end < 0:
            if fault := fault_in(buffer, limits, self._sound):
                raise fault
            self._sound = len(buffer)
            return None
        end += 4
        head = parse_head(buffer[:end], limits)
        self._buffer = buffer[end:]
        self._sound = self._extensions = 0
        self._may_skip = True
        self._in_chunks = head.length is None
        self._expected = _SIZE
        self._left = head.length or 0
        self.body_complete = head.length == 0
        return head

    def read_body(self) -> bytes:
        """What has come of the body since the last call, without the framing.

        Raises:
            APIError: The chunks are not valid. What comes behind them cannot be understood.
        """
        if self._in_chunks and not self.body_complete:
            return self._read_chunks()
        data = self._buffer
        if len(data) > self._left:
            data, self._buffer = data[: self._left], data[self._left :]
        else:
            self._buffer = b""
        self._left -= len(data)
        self.body_complete = not self._left
        return data

    def _read_chunks(self) -> bytes:
        buffer, at, parts = self._buffer, 0, []
        while not self.body_complete:
            if self._expected == _DATA:
                part = buffer[at : at + self._left]
                if not part:
                    break
                parts.append(part)
                at += len(part)
                self._left -= len(part)
                if not self._left:
                    self._expected = _DATA_END
            elif self._expected == _DATA_END:
                if len(buffer) < at + 2 and b"\r\n".startswith(buffer[at:]):
                    break
                if not buffer.startswith(b"\r\n", at):
                    raise InvalidRequest("A chunk of the request body does not end where it should.")
                at += 2
                self._expected = _SIZE
            elif self._expected == _SIZE:
                end = buffer.find(b"\r\n", at, at + _LONGEST_CHUNK_LINE)
                if end < 0:
                    if len(buffer) - at >= _LONGEST_CHUNK_LINE:
                        raise InvalidRequest("A chunk of the request body has too long a first line.")
                    break
                self._left = self._chunk_size(buffer[at:end])
                at = end + 2
                self._expected = _DATA if self._left else _TRAILERS
            else:
                end = self._trailers_end(buffer, at)
                if end < 0:
                    break
                at = end
                self.body_complete = True
        self._buffer = buffer[at:]
        return b"".join(parts)

    def _chunk_size(self, line: bytes) -> int:
        found = _CHUNK_LINE.fullmatch(line)
        if found is None:
            raise InvalidRequest("A chunk of the request body has no valid size.")
        digits = found[1]
        self._extensions += len(line) - len(digits)
        if self._extensions > _MOST_CHUNK_EXTENSIONS:
            raise InvalidRequest("The chunks of the request body have too many extensions.")
        return int(digits, 16)

    def _trailers_end(self, buffer: bytes, at: int) -> int:
        """Where the body ends for good, or -1 while that has not come."""
        if buffer.startswith(b"\r\n", at):
            return at + 2
        end = buffer.find(b"\r\n\r\n", at, at + _MOST_TRAILERS)
        if end >= 0:
            parse_trailers(buffer[at : end + 4], self._limits)
            return end + 4
        if len(buffer) - at >= _MOST_TRAILERS:
            raise HeadersTooLarge(f"The request's trailers are larger than {_MOST_TRAILERS} bytes.")
        return -1
