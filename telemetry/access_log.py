"""The log line that every request leaves. No header, body or key is ever logged."""

from __future__ import annotations

import time
from typing import Any

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from specserve.telemetry.logs import request_id

_LONGEST_PATH = 256
_CLIENT_CLOSED_REQUEST = 499


class AccessLogMiddleware:
    """Leaves one line per request. Pure ASGI; belongs just inside the request id, which makes the state its own.

    Handlers tell more about the request by putting `model`, `prompt_tokens` and `completion_tokens` into the dict
    ``scope["state"]["log"]``.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._log = structlog.get_logger("specserve.access")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application, watch the response go out, and log."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        told: dict[str, Any] = {}
        state: dict[str, Any] = scope.setdefault("state", {})
        state["log"] = told
        request_id.set(state.get("request_id", ""))
        watch = _Watch(receive, send)
        try:
            await self._app(scope, watch.receive, watch.send)
        finally:
            status = watch.status or (_CLIENT_CLOSED_REQUEST if watch.disconnected else 500)
            line = {
                "method": scope["method"],
                "path": _path(scope),
                "status": status,
                **told,
                "duration_ms": _milliseconds(time.perf_counter() - watch.started),
            }
            if watch.first_byte:
                line["first_byte_ms"] = _milliseconds(watch.first_byte - watch.started)
            if watch.disconnected:
                line["disconnected"] = True
            log = self._log.error if status >= 500 else self._log.info
            log("request", **line)


class _Watch:
    """Stands between the application and the server, and remembers what passed."""

    __slots__ = ("_complete", "_receive", "_send", "disconnected", "first_byte", "started", "status")

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._complete = False
        self.started = time.perf_counter()
        self.status = 0
        self.first_byte = 0.0
        self.disconnected = False

    async def receive(self) -> Message:
        message = await self._receive()
        # After the response is out the server says disconnect in any case.
        if message["type"] == "http.disconnect" and not self._complete:
            self.disconnected = True
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        elif message["type"] == "http.response.body":
            if not self.first_byte and message.get("body"):
                self.first_byte = time.perf_counter()
            self._complete = not message.get("more_body", False)
        await self._send(message)


def _path(scope: Scope) -> str:
    """The path as it came, percent-encoded and without the query, which may hold anything."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    return raw.partition(b"?")[0][:_LONGEST_PATH].decode("ascii", "backslashreplace")


def _milliseconds(seconds: float) -> float:
    return int(seconds * 100_000 + 0.5) / 100  # `round` asks for the shortest digits, which takes longer
