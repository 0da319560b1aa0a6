"""A server that costs next to nothing, for gateways to stand before: ``python upstream_stub.py PORT``.

Every chat gets the same answer at once, plain or as 64 pieces in as many writes.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any, cast

import httptools
import uvloop

PIECES = 64
_HEAD = {"id": "chatcmpl-stub", "created": 1767225600, "model": "stub"}
_USAGE = {"prompt_tokens": 10, "completion_tokens": PIECES, "total_tokens": 10 + PIECES}


def _whole(value: dict[str, Any]) -> bytes:
    body = json.dumps(value).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


def _event(data: bytes) -> bytes:
    data = b"data: %b\n\n" % data
    return b"%x\r\n%b\r\n" % (len(data), data)


def _chunk(delta: dict[str, str], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    return _event(json.dumps({**_HEAD, "object": "chat.completion.chunk", "choices": [choice], "usage": None}).encode())


_MESSAGE = {"role": "assistant", "content": "word " * PIECES, "refusal": None}
_PLAIN = _whole(
    {
        **_HEAD,
        "object": "chat.completion",
        "choices": [{"index": 0, "message": _MESSAGE, "logprobs": None, "finish_reason": "stop"}],
        "usage": _USAGE,
    }
)
_MODELS = _whole({"object": "list", "data": [{"id": "stub", "object": "model", "created": 1, "owned_by": "stub"}]})
_STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_EVENTS = [
    _chunk({"role": "assistant", "content": ""}),
    *[_chunk({"content": "word "})] * PIECES,
    _chunk({}, "stop"),
    _event(json.dumps({**_HEAD, "object": "chat.completion.chunk", "choices": [], "usage": _USAGE}).encode()),
    _event(b"[DONE]"),
]


class _Connection(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._parser = httptools.HttpRequestParser(self)
        self._url = self._body = b""
        self._streams: set[asyncio.Task[None]] = set()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self._url, self._body = url, b""

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        if self._url.endswith(b"/models"):
            self._transport.write(_MODELS)
        elif b'"stream":true' in self._body.replace(b" ", b""):
            task = asyncio.get_running_loop().create_task(self._stream())
            self._streams.add(task)
            task.add_done_callback(self._streams.discard)
        else:
            self._transport.write(_PLAIN)

    async def _stream(self) -> None:
        self._transport.write(_STREAM_HEAD)
        for event in _EVENTS:
            self._transport.write(event)
            await asyncio.sleep(0)
        self._transport.write(b"0\r\n\r\n")


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(_Connection, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
