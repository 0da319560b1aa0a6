"""Bounds that the HTTP library has no option for. The only file that touches what is private in aiohttp.

What is relied on, and held by tests/backends/http/test_bounded.py:

* a connector makes the protocol of each connection with its attribute ``_factory``;
* a protocol takes bytes in ``data_received``, and a request begins with ``set_response_params``;
* it hands over each head, interim ones (1xx) among them, with ``feed_data((message, payload), size)``, and keeps those
  that nobody has read in ``_buffer``;
* ``set_exception`` fails whoever waits for the head.
"""

from __future__ import annotations

from functools import cache, partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio

    from aiohttp import BaseConnector
    from aiohttp.client_proto import ResponseHandler

_LARGEST_HEAD = 64 * 1024  # bytes, with all interim heads
_MOST_INTERIM_HEADS = 16
_AT_ONCE = 4 * 1024  # bytes of a head that are parsed before they are counted


def bound(connector: BaseConnector, loop: asyncio.AbstractEventLoop) -> None:
    """Have the connections of a connector refuse heads that are too large, and interim heads without end."""
    connector._factory = partial(_protocol(), loop=loop)  # noqa: SLF001  this file's purpose


@cache
def _protocol() -> type[ResponseHandler]:
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.http_exceptions import BadHttpMessage

    class Bounded(ResponseHandler):
        """One connection."""

        def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
            super().__init__(loop)
            self._in_head = False
            self._head_bytes = 0
            self._interim_heads = 0

        def set_response_params(self, **params: Any) -> None:
            """A request is about to be sent: what comes next is a head."""
            self._in_head, self._head_bytes, self._interim_heads = True, 0, 0
            super().set_response_params(**params)

        def feed_data(self, data: Any, size: int = 0) -> None:
            """A head was parsed."""
            if 100 <= data[0].code < 200:
                self._interim_heads += 1
            else:
                self._in_head = False
            super().feed_data(data, size)

        def data_received(self, data: bytes) -> None:
            """Parse what came; a head in small parts, so that one that is too large is not parsed whole."""
            at = 0
            while self._in_head and at < len(data):
                if self._head_bytes > _LARGEST_HEAD or self._interim_heads > _MOST_INTERIM_HEADS:
                    self._refuse()
                    return
                part = data[at : at + _AT_ONCE]
                at += len(part)
                self._head_bytes += len(part)
                super().data_received(part)
            if at < len(data) or not data:
                super().data_received(data[at:])

        def _refuse(self) -> None:
            if self.transport is not None:
                self.transport.abort()
            self._buffer.clear()  # the interim heads that nobody has read yet
            self.set_exception(BadHttpMessage("the head of the answer is too large, or has no end"))

    return Bounded
