"""Server-sent events, as the WHATWG HTML standard, section 9.2, describes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from specserve.spec.errors import UpstreamBreach

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

_LONGEST = 16 * 1024 * 1024  # bytes of one event


@dataclass(frozen=True)
class Event:
    """One event.

    Attributes:
        name: ``message`` if the stream does not name it.
        data: Its data lines, joined with line feeds.
    """

    name: str
    data: bytes


async def events(chunks: AsyncIterator[bytes]) -> AsyncGenerator[Event, None]:
    """Read the events of a body. One that is not ended by an empty line when the body ends is dropped, as it must be.

    Raises:
        UpstreamBreach: An event is longer than 16 MiB.
    """
    name, data, size = b"", list[bytes](), 0
    async for line in _lines(chunks):
        size += len(line)
        if size > _LONGEST:
            raise UpstreamBreach("The service behind this model sent too long an event.")
        if line:
            field, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if field == b"data":
                data.append(value)
            elif field == b"event":
                name = value
            continue
        if data:
            yield Event(name.decode(errors="replace") or "message", b"\n".join(data))
        name, data, size = b"", [], 0


async def _lines(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    r"""Lines that end with ``\r\n``, ``\n`` or ``\r``, without their ends."""
    rest = b""
    async for chunk in chunks:
        # A carriage return at the end may be half of a line's end: wait for what follows.
        *lines, rest = _split(rest + chunk)
        for line in lines:
            yield line
        if len(rest) > _LONGEST:
            yield rest
    if rest.endswith(b"\r"):
        yield rest[:-1]


def _split(text: bytes) -> list[bytes]:
    held = text.endswith(b"\r")
    body = text[:-1] if held else text
    lines = body.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    if held:
        lines[-1] += b"\r"
    return lines
