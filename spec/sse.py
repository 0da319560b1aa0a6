"""Event streams, as the WHATWG HTML standard describes them (section 9.2): how to write them, and how to read them."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass

_LINE_END = re.compile(r"[\r\n]")

_LINE_ENDS = re.compile(rb"\r\n|\r|\n")

DONE_DATA = "[DONE]"
DONE = b"data: [DONE]\n\n"
"""The event that ends a stream of the API, and its data."""


def event(data: bytes, name: str = "") -> bytes:
    """Write one event.

    Args:
        data: Its data; one line, as in all JSON that an encoder wrote without indentation, or several.
        name: Its type; none for ``message``.

    Raises:
        ValueError: The name has more than one line.
    """
    if b"\n" in data or b"\r" in data:
        data = b"\ndata: ".join(_LINE_ENDS.split(data))
    written = b"data: " + data + b"\n\n"
    return b"event: " + _one_line(name) + b"\n" + written if name else written


def comment(text: str) -> bytes:
    """Write a comment, which readers skip: it keeps a connection alive.

    Raises:
        ValueError: It has more than one line.
    """
    return b": " + _one_line(text) + b"\n\n"


def _one_line(text: str) -> bytes:
    line = text.encode()
    if _LINE_ENDS.search(line):
        raise ValueError("names of events and comments have one line")
    return line


@dataclass(frozen=True)
class Event:
    """One dispatched event.

    Attributes:
        data: The lines of data, joined by line feeds.
        name: Its type; ``message`` where the stream names none.
        last_id: The last event id that the stream has set so far.
        retry: The reconnection time that was set with this event, if any.
    """

    data: str
    name: str = "message"
    last_id: str = ""
    retry: int | None = None


class Parser:
    """Feed it bytes as they come; it gives events as they are complete, however the bytes were split.

    An event that the stream's end cuts off is never dispatched, as the standard says; `pending` tells of one.
    `invalid_utf8` tells whether bytes had to be replaced.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._strict = codecs.getincrementaldecoder("utf-8")("strict")
        self._line: list[str] = []
        self._first = True
        self._after_cr = False
        self._data: list[str] = []
        self._name = ""
        self._retry: int | None = None
        self._last_id = ""
        self.invalid_utf8 = False

    @property
    def pending(self) -> bool:
        """Whether a line or an event stands unfinished."""
        return bool(self._line or self._data)

    def feed(self, data: bytes) -> Iterator[Event]:
        """Take more bytes."""
        self._check(data, final=False)
        yield from self._take(self._decoder.decode(data))

    def close(self) -> Iterator[Event]:
        """Tell that the stream has ended."""
        self._check(b"", final=True)
        yield from self._take(self._decoder.decode(b"", final=True))

    def _check(self, data: bytes, *, final: bool) -> None:
        if not self.invalid_utf8:
            try:
                self._strict.decode(data, final)
            except UnicodeDecodeError:
                self.invalid_utf8 = True

    def _take(self, text: str) -> Iterator[Event]:
        if self._first and text:
            self._first = False
            text = text.removeprefix("\ufeff")
        start = 0
        for end in _LINE_END.finditer(text):
            position, character = end.start(), end[0]
            if character == "\n" and self._after_cr and position == start:  # the second half of CRLF, perhaps split
                self._after_cr = False
                start = position + 1
                continue
            self._after_cr = character == "\r"
            self._line.append(text[start:position])
            start = position + 1
            line = "".join(self._line)
            self._line.clear()
            yield from self._process(line)
        if start < len(text):
            self._after_cr = False
            self._line.append(text[start:])

    def _process(self, line: str) -> Iterator[Event]:
        if not line:
            if self._data:
                yield Event("\n".join(self._data), self._name or "message", self._last_id, self._retry)
            self._data, self._name, self._retry = [], "", None
            return
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match field:
            case "data":
                self._data.append(value)
            case "event":
                self._name = value
            case "id" if "\0" not in value:
                self._last_id = value
            case "retry" if value.isascii() and value.isdigit():
                self._retry = int(value)
            case _:
                pass  # comments, and fields that the standard does not know


def parse(data: bytes) -> list[Event]:
    """All events of a whole stream."""
    parser = Parser()
    return [*parser.feed(data), *parser.close()]
