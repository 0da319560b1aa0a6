"""What is known of one request: moments, tokens, and what went wrong."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from enum import StrEnum
from itertools import pairwise
from typing import Any


class Failure(StrEnum):
    """Why a request did not succeed. One of `HTTP` carries its status in the sample."""

    CONNECT = "connect"
    HTTP = "http"
    TIMEOUT = "timeout"
    CUT = "cut"
    NO_DONE = "no_done"
    BAD_JSON = "bad_json"
    ERROR_EVENT = "error_event"
    NOT_A_STREAM = "not_a_stream"
    EMPTY = "empty"
    USAGE_MISMATCH = "usage_mismatch"
    TOO_LARGE = "too_large"
    NOT_SENT = "not_sent"
    ABORTED = "aborted"


MEANING = {
    Failure.CONNECT: "no connection",
    Failure.HTTP: "a status other than 200",
    Failure.TIMEOUT: "not over in time",
    Failure.CUT: "the connection ended before the answer did",
    Failure.NO_DONE: "the stream ended well but without [DONE]",
    Failure.BAD_JSON: "an event that is no JSON object",
    Failure.ERROR_EVENT: "an error inside the stream",
    Failure.NOT_A_STREAM: "status 200 without an event stream",
    Failure.EMPTY: "a whole stream without one token",
    Failure.USAGE_MISMATCH: "a usage that contradicts itself or the request",
    Failure.TOO_LARGE: "an answer larger than 64 MiB",
    Failure.NOT_SENT: "due, but too many were in flight",
    Failure.ABORTED: "ended by us, when the run was interrupted",
}


@dataclass(slots=True)
class Sample:
    """One request. Moments are seconds of the machine's monotonic clock, which all processes share.

    Attributes:
        stage: Number of the stage, from 0.
        ident: Number of the request in its stage.
        scheduled: When it was due, in an open loop.
        sent: When we began to send it, a connection that had to be opened included.
        connected: When its connection stood; equal to `sent` for one that was open already.
        first_byte: When the first bytes of the answer came.
        first_event: When the first event with data came.
        tokens_at: When each chunk came that held some of the answer's text, thoughts or calls.
        done: When ``[DONE]`` came.
        ended: When nothing more was to come.
        failure: None for a success.
        status: HTTP status, 0 if none came.
        prompt_planned: Tokens that the prompt was to have.
        output_limit: Most tokens that were asked for.
        prompt_tokens: By the server's usage; None if it gave none.
        completion_tokens: By the server's usage; None if it gave none.
        chunks: Events that were JSON objects.
        finish_reason: As the server said.
        stamps: What a calibrating stub wrote into the chunks of `tokens_at`: when it sent each.
    """

    stage: int
    ident: int
    scheduled: float | None = None
    sent: float | None = None
    connected: float | None = None
    first_byte: float | None = None
    first_event: float | None = None
    tokens_at: list[float] = field(default_factory=list)
    done: float | None = None
    ended: float | None = None
    failure: str | None = None
    detail: str = ""
    status: int = 0
    prompt_planned: int = 0
    output_limit: int = 0
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    chunks: int = 0
    finish_reason: str | None = None
    reused: bool = False
    process: int = 0
    stamps: list[float] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether it succeeded."""
        return self.failure is None

    @property
    def due(self) -> float:
        """The moment that places it in time: when it was due, or, in a closed loop, sent."""
        return self.scheduled if self.scheduled is not None else self.sent or 0.0

    @property
    def output_tokens(self) -> int:
        """Tokens of the answer: by usage, else chunks with text are counted."""
        return len(self.tokens_at) if self.completion_tokens is None else self.completion_tokens

    def error_class(self) -> str | None:
        """The failure as it is counted: each HTTP status is its own class."""
        return f"http {self.status}" if self.failure == Failure.HTTP else self.failure

    def to_wire(self) -> dict[str, Any]:
        """For another process."""
        return {name: getattr(self, name) for name in _FIELDS}

    def figures(self) -> dict[str, float]:
        """The figures of a success, in seconds; the formulas are in `metrics.FORMULAS`."""
        if not self.ok or self.sent is None:
            return {}
        found: dict[str, float] = {}
        end = self.done if self.done is not None else self.ended
        if self.first_event is not None:
            found["ttft_event"] = self.first_event - self.sent
        if self.tokens_at:
            first, last = self.tokens_at[0], self.tokens_at[-1]
            found["ttft_token"] = first - self.sent
            if self.output_tokens > 1 and len(self.tokens_at) > 1:
                found["tpot"] = (last - first) / (self.output_tokens - 1)
            if end is not None:
                found["tail"] = end - last
            if self.scheduled is not None:
                found["ttft_token_scheduled"] = first - self.scheduled
        if end is not None:
            found["e2e"] = end - self.sent
            if self.scheduled is not None:
                found["e2e_scheduled"] = end - self.scheduled
        if self.connected is not None and not self.reused:
            found["connect"] = self.connected - self.sent
        return found

    def gaps(self) -> list[float]:
        """Seconds between one chunk with text and the next."""
        return [later - earlier for earlier, later in pairwise(self.tokens_at)]


_FIELDS = tuple(item.name for item in fields(Sample))
