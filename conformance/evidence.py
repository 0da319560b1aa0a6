"""What went over the wire in one exchange, and what a check may say about it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from itertools import takewhile
from typing import Any

from specserve.conformance.sse import Event

MISSING: Any = object()
"""What `Answer.get` and `dig` find where nothing stands."""


class Broken(StrEnum):
    """Why an exchange has no complete answer."""

    CONNECT = "could not connect"
    TIMEOUT = "no complete answer in time"
    CUT = "the connection ended amid the answer"
    PROTOCOL = "the answer breaks HTTP"
    TOO_LARGE = "the answer is larger than the kit reads"


@dataclass(frozen=True)
class Sent:
    """A request as it was sent. ``valid`` is whether the kit means it to conform to the contract."""

    exchange: str
    operation: str | None
    method: str
    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    json: Any = None
    stream: bool = False
    valid: bool = True


@dataclass(frozen=True)
class TimedEvent:
    """An event of a stream, with the seconds from the request to its arrival."""

    event: Event
    at: float


@dataclass
class Answer:
    """A reply, complete or not.

    Attributes:
        sent: The request.
        status: The HTTP status; 0 if none came.
        headers: As they came, names in lower case.
        body: The bytes of the content, decoded as its content-encoding says.
        events: What the event stream held, if it was one.
        broken: Why it is not complete, if it is not.
        detail: A sentence about that.
        seconds: How long it took.
        first_byte: Seconds until the headers were there.
        attempts: How often the request was sent, since only limits and infrastructure errors are tried again.
        abandoned: The kit closed the connection on purpose.
        invalid_utf8: The stream held bytes that are not UTF-8.
        unfinished_event: The stream ended amid an event.
        notes: What was worked out about it once, for all checks that want to know.
    """

    sent: Sent
    status: int = 0
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    events: list[TimedEvent] = field(default_factory=list)
    broken: Broken | None = None
    detail: str = ""
    seconds: float = 0.0
    first_byte: float = 0.0
    attempts: int = 1
    abandoned: bool = False
    invalid_utf8: bool = False
    unfinished_event: bool = False
    notes: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def header(self, name: str) -> str | None:
        """The value of a header, or None."""
        return next((value for key, value in self.headers if key == name), None)

    @property
    def media_type(self) -> str:
        """The content type without its parameters, in lower case."""
        return (self.header("content-type") or "").partition(";")[0].strip().lower()

    @property
    def is_stream(self) -> bool:
        """Whether it came as an event stream."""
        return self.media_type == "text/event-stream"

    @cached_property
    def json(self) -> Any:
        """The body as JSON (RFC 8259: no NaN, no BOM, UTF-8), or `MISSING`."""
        try:
            return json.loads(self.body.decode(), parse_constant=_refuse_constant)
        except (ValueError, RecursionError):
            return MISSING

    @cached_property
    def payloads(self) -> list[Any]:
        """The JSON of each event but ``[DONE]``; `MISSING` for one that is none."""
        return [_load(timed.event.data) for timed in self.events if timed.event.data.strip() != "[DONE]"]

    @property
    def payloads_before_done(self) -> list[Any]:
        """Those of `payloads` that came before ``[DONE]``: what follows it breaks a rule of its own."""
        before = takewhile(lambda timed: timed.event.data.strip() != "[DONE]", self.events)
        return self.payloads[: sum(1 for _ in before)]

    def get(self, *path: str | int) -> Any:
        """What stands at a place of the JSON body, or `MISSING`."""
        return dig(self.json, *path)

    @property
    def text(self) -> str:
        """The text of the first choice of a plain answer; empty if there is none."""
        for path in (("choices", 0, "message", "content"), ("choices", 0, "text")):
            value = self.get(*path)
            if isinstance(value, str):
                return value
        return ""

    @property
    def streamed_text(self) -> str:
        """The concatenated text of the choice with index 0 of a stream."""
        parts = []
        for payload in self.payloads:
            for choice in items(dig(payload, "choices")):
                if dig(choice, "index") == 0:
                    parts += [
                        value
                        for value in (dig(choice, "delta", "content"), dig(choice, "text"))
                        if isinstance(value, str)
                    ]
        return "".join(parts)


@dataclass(frozen=True)
class Finding:
    """What breaks a requirement.

    Attributes:
        expected: What the requirement asks for.
        actual: What the server did.
        place: Where in the answer, as a JSON pointer.
        silent: The server accepted what it then ignored.
        sdk: Official clients fail on it; None leaves that to the requirement.
    """

    expected: str
    actual: Any
    place: str = ""
    silent: bool = False
    sdk: bool | None = None


def dig(value: Any, *path: str | int) -> Any:
    """Follow keys and indexes; `MISSING` where they lead nowhere."""
    for step in path:
        if isinstance(value, Mapping):
            value = value.get(step, MISSING)
        elif isinstance(value, list) and isinstance(step, int) and -len(value) <= step < len(value):
            value = value[step]
        else:
            return MISSING
    return value


def items(value: Any) -> list[Any]:
    """The items of a list; none if it is no list."""
    return value if isinstance(value, list) else []


def shown(value: Any, limit: int = 300) -> str:
    """A value as JSON, short enough for a report."""
    if value is MISSING:
        return "nothing"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= limit else f"{text[:limit]}... ({len(text)} characters)"


def _refuse_constant(name: str) -> Any:
    msg = f"JSON has no {name}"
    raise ValueError(msg)


def _load(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return MISSING
