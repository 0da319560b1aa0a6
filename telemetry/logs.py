"""Log lines: what they look like. No header, body or key is ever logged."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from contextvars import ContextVar
from typing import Any, TextIO, cast

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from specserve.spec.errors import BackendLoadError
from specserve.telemetry.log_writer import LogWriter

_AMBIGUOUS = re.compile("[ \\t=\\r\\n\"']")
_unambiguous = re.compile("[!#-&(-<>-~]*").fullmatch  # of ASCII: nearly all there is to show
_MORE_THAN_A_LINE = frozenset({"exc_info", "exception", "logger", "logger_name", "stack"})

_STANDARD_ERROR = 2
_writer: LogWriter | None = None

request_id: ContextVar[str] = ContextVar("request_id", default="")  # structlog's own way looks through all variables


def configure(level: str, line_format: str, stream: TextIO | None = None) -> None:
    """Send our own log lines, and those of every library, to one stream in one format.

    Args:
        level: Lowest level that is written: ``debug``, ``info``, ``warning`` or ``error``.
        line_format: ``console`` or ``json``.
        stream: Where to; standard error if not given, by a thread that nobody has to wait for.
    """
    global _writer  # noqa: PLW0603  standard error is one for the process, whoever configures
    if stream is None:
        _writer = _writer or LogWriter(_STANDARD_ERROR)
        stream = cast("TextIO", _writer)
    lowest: int = getattr(logging, level.upper())
    shared: list[Processor] = [
        structlog.processors.add_log_level,
        _Stamp(),
    ]
    renderers = _renderers(line_format, colors=stream.isatty())
    structlog.configure(
        processors=[*shared, *renderers],
        wrapper_class=structlog.make_filtering_bound_logger(lowest),
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
    root.setLevel(max(lowest, logging.INFO if level == "debug" else logging.WARNING))
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "connexion"):
        library = logging.getLogger(name)
        library.handlers, library.propagate = [], True
        library.setLevel(logging.NOTSET)
    logging.captureWarnings(capture=True)


def finish() -> None:
    """Write the lines that are still waiting, within a second: something else is about to be said, or the end near."""
    if _writer is not None:
        _writer.close()


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
        if current := request_id.get():
            event.setdefault("request_id", current)
        return event


def _is_news(record: logging.LogRecord) -> bool:
    """Leave out what uvicorn says of things that are told better elsewhere.

    These are the traceback of a lifespan that was ended on purpose, and that the start failed.
    """
    if record.name != "uvicorn.error":
        return True
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, asyncio.CancelledError) and not str(record.msg).startswith(
        "Application startup failed"
    )


def log_state(model: str, state: str, error: Exception | None, **facts: object) -> None:
    """Log that a model changed its state; `error` is why it is ``failed``, `facts` are further fields of the line."""
    log = structlog.get_logger("specserve.models")
    if state != "failed":
        log.info("model", model=model, state=state, **facts)
    elif isinstance(error, BackendLoadError):
        log.error("model", model=model, state=state, error=str(error))
    else:
        log.error("model", model=model, state=state, exc_info=error)
