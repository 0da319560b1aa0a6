"""Log lines: what they look like, and the one that every request leaves. No header, body or key is ever logged."""

from __future__ import annotations

import asyncio
import logging
import re
import sys
import time
from contextvars import ContextVar
from typing import Any, TextIO

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.typing import EventDict, Processor, WrappedLogger

from specserve.backends.errors import BackendLoadError
from specserve.backends.served_model import ServedModel
from specserve.settings import Settings

_LONGEST_PATH = 256
_AMBIGUOUS = re.compile("[ \\t=\\r\\n\"']")
_unambiguous = re.compile("[!#-&(-<>-~]*").fullmatch  # of ASCII: nearly all there is to show
_MORE_THAN_A_LINE = frozenset({"exc_info", "exception", "logger", "logger_name", "stack"})
_CLIENT_CLOSED_REQUEST = 499

_request_id: ContextVar[str] = ContextVar("request_id", default="")  # structlog's own way looks through all variables


def configure(settings: Settings, stream: TextIO | None = None) -> None:
    """Send our own log lines, and those of every library, to `stream` (stderr) in one format."""
    stream = stream or sys.stderr
    level = getattr(logging, settings.log_level.upper())
    shared: list[Processor] = [
        structlog.processors.add_log_level,
        _Stamp(),
    ]
    renderers = _renderers(settings.log_format, colors=stream.isatty())
    structlog.configure(
        processors=[*shared, *renderers],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
        )
    )
    handler.addFilter(_is_news)
    root = logging.getLogger()
    root.handlers = [handler]
    # Libraries are quiet, and never at debug: some log headers and bodies there.
    root.setLevel(max(level, logging.INFO if settings.log_level == "debug" else logging.WARNING))
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "connexion"):
        library = logging.getLogger(name)
        library.handlers, library.propagate = [], True
        library.setLevel(logging.NOTSET)
    logging.captureWarnings(capture=True)


def _renderers(log_format: str, *, colors: bool) -> list[Processor]:
    # Plain tracebacks: the decorated ones show the values of variables, prompts and keys among them.
    if log_format == "json":
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    console = structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback)
    return [_escape_control_characters, console] if colors else [_Lines(console)]


class _Lines:
    """Writes plain lines as structlog's renderer for terminals does, in a tenth of its time.

    Args:
        console: That renderer, for what is more than a line.
    """

    def __init__(self, console: Processor) -> None:
        self._console = console

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> Any:
        if not event.keys().isdisjoint(_MORE_THAN_A_LINE):
            return self._console(logger, method, _escape_control_characters(logger, method, event))
        told = _without_control_characters(event.pop("event"))
        parts = [event.pop("timestamp"), f"[{event.pop('level'):9}]", f"{told:30}"]
        parts += [f"{name}={_shown(value)}" for name, value in sorted(event.items())]
        return " ".join(parts).rstrip(" ")


def _shown(value: object) -> str:
    """Text as it is, unless that could be read as more than one value."""
    if not isinstance(value, str):
        return repr(value)
    if _unambiguous(value):
        return value
    value = _without_control_characters(value)
    return repr(value) if _AMBIGUOUS.search(value) else value


def _without_control_characters(text: str) -> str:
    return text if text.isprintable() else text.encode("unicode_escape").decode()


def _escape_control_characters(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Keep what a client sent from writing lines of its own or steering the terminal."""
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = _without_control_characters(value)
    return event


class _Stamp:
    """Tells when a line was written, and in the course of which request. Dates are put together once a second."""

    def __init__(self) -> None:
        self._second = ("", -1)

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
        shown, second = self._second
        if second != seconds:
            shown = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
            self._second = (shown, seconds)
        event["timestamp"] = f"{shown}.{nanoseconds // 1000:06}Z"
        if request_id := _request_id.get():
            event.setdefault("request_id", request_id)
        return event


def _is_news(record: logging.LogRecord) -> bool:
    """Leave out what uvicorn says of things that are told better elsewhere.

    These are the traceback of a response that was broken off on purpose, and that the start failed.
    """
    if record.name != "uvicorn.error":
        return True
    error = record.exc_info[1] if record.exc_info else None
    broken_off = isinstance(error, asyncio.CancelledError | ConnectionResetError)
    return not broken_off and not str(record.msg).startswith("Application startup failed")


def log_state(model: ServedModel) -> None:
    """Leave a line about a model that is in another state now."""
    log = structlog.get_logger("specserve.models")
    if model.state != "failed":
        log.info("model", model=model.id, state=model.state)
    elif isinstance(model.error, BackendLoadError):
        log.error("model", model=model.id, state=model.state, error=str(model.error))
    else:
        log.error("model", model=model.id, state=model.state, exc_info=model.error)


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
        _request_id.set(state.get("request_id", ""))
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
