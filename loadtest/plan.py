"""What a run shall do. A plan is checked when it is made; nothing is sent before that."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from specserve.loadtest.arrivals import Arrivals
from specserve.loadtest.budget import Caps, Price
from specserve.loadtest.distributions import Distribution
from specserve.loadtest.slo import Objective

KEY_VARIABLE = "OPENAI_API_KEY"
LONGEST = 24 * 3600.0
MOST_STAGES = 50


class BadPlan(ValueError):
    """The plan makes no sense; the message says why."""


class Shape(StrEnum):
    """How one stage follows the other."""

    STEADY = "steady"
    STAGES = "stages"
    SWEEP = "sweep"


@dataclass(frozen=True)
class Plan:
    """A run.

    Attributes:
        base_url: With the version part, such as ``http://127.0.0.1:8000/v1``.
        model: Named in each request.
        loads: Requests a second of each stage in an open loop; users in a closed one.
        open_loop: Whether requests are sent on schedule, or by users who wait for their answers.
        api_key: Sent as bearer token; never written anywhere.
        shape: ``steady`` has one stage, ``stages`` those of `loads`, ``sweep`` goes up until it is too much.
        arrivals: Of an open loop.
        prompt: Tokens of prompts.
        output: Tokens of answers.
        shared_prefix: Tokens that all prompts begin with.
        dataset: A file with requests, in place of made-up ones.
        duration: Seconds of each stage that are measured.
        warmup: Seconds before them that are not.
        timeout: Seconds that a request may take.
        caps: What the run may cost at most.
        price: The model's, if known.
        objectives: What must hold.
        seed: Of arrivals, lengths and words.
        processes: That send, beside this one if more than one.
        most_in_flight: Requests of an open loop that may wait for answers at once; more are counted as not sent.
        most_lag: Seconds that the 99th percentile of sending may be behind the schedule.
        steps: Most stages of a sweep.
        limit_field: ``max_tokens`` or ``max_completion_tokens``.
        usage: Whether to ask for the usage chunk.
        extra: Fields added to every request.
    """

    base_url: str
    model: str
    loads: tuple[float, ...]
    open_loop: bool
    api_key: str | None = field(default=None, repr=False)
    shape: Shape = Shape.STEADY
    arrivals: Arrivals = field(default_factory=Arrivals)
    prompt: Distribution = field(default_factory=lambda: Distribution("fixed", 128))
    output: Distribution = field(default_factory=lambda: Distribution("fixed", 64))
    shared_prefix: int = 0
    dataset: Path | None = None
    duration: float = 30.0
    warmup: float = 5.0
    timeout: float = 120.0
    caps: Caps = field(default_factory=Caps)
    price: Price | None = None
    objectives: tuple[Objective, ...] = ()
    seed: int = 20261121
    processes: int = 1
    most_in_flight: int = 1000
    most_lag: float = 0.05
    steps: int = 8
    limit_field: str = "max_tokens"
    usage: bool = True
    extra: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.base_url)
            plain = self.base_url.isascii() and self.base_url.isprintable() and " " not in self.base_url
            plain = plain and parts.port != 0
        except ValueError:
            plain = False
        if not plain:
            msg = f"not an address: {self.base_url!r}"
            raise BadPlan(msg)
        if self.api_key is not None and not (self.api_key.isascii() and self.api_key.isprintable()):
            msg = "the key holds characters that a header cannot"
            raise BadPlan(msg)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            msg = f"not an http(s) address: {self.base_url!r}"
            raise BadPlan(msg)
        if parts.query or parts.fragment or parts.username:
            msg = "the base address takes no user, query or fragment"
            raise BadPlan(msg)
        if any(not 0 < load <= 100_000 for load in self.loads) or not 0 < len(self.loads) <= MOST_STAGES:
            msg = f"give 1 to {MOST_STAGES} rates or numbers of users, each over 0"
            raise BadPlan(msg)
        if not self.open_loop and any(load != int(load) for load in self.loads):
            msg = "a number of users is whole"
            raise BadPlan(msg)
        if self.shape is not Shape.STAGES and len(self.loads) > 1:
            msg = f"the shape {self.shape} takes one rate or number of users; several are --shape stages"
            raise BadPlan(msg)
        if self.arrivals.kind == "trace" and self.shape is not Shape.STEADY:
            msg = "a trace knows its own rates: --shape steady"
            raise BadPlan(msg)
        if not self.open_loop and min(self.loads) < self.processes:
            msg = "each process needs a user"
            raise BadPlan(msg)
        if min(self.caps.requests, self.most_in_flight) < self.processes:
            msg = "each process needs a request: fewer --processes, or higher caps"
            raise BadPlan(msg)
        if not 0 < self.duration <= LONGEST or not 0 <= self.warmup <= LONGEST or not 0 < self.timeout <= LONGEST:
            msg = f"durations are over 0 and at most {LONGEST:g} s"
            raise BadPlan(msg)
        if self.caps.usd is not None and self.price is None:
            msg = "a cap in dollars needs the price of the model: --prices FILE"
            raise BadPlan(msg)

    @property
    def url(self) -> str:
        """The base address without a slash at its end."""
        return self.base_url.rstrip("/")

    @property
    def unit(self) -> str:
        """Of loads."""
        return "requests/s" if self.open_loop else "users"

    @property
    def is_loopback(self) -> bool:
        """Whether the server is on this machine, so that nobody else pays."""
        host = urlsplit(self.base_url).hostname or ""
        if host == "localhost":
            return True
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False
