"""What a run may cost: worst-case tokens are counted before a request is sent, so that a cap is never passed."""

from __future__ import annotations

import time
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from specserve.conformance.target import BadTarget, Limits

UNBOUNDED_ANSWER = 256
"""Tokens counted for a request that sets no limit of its own."""


@dataclass(frozen=True)
class Cost:
    """What one request may cost at most. A request that the server must refuse costs nothing."""

    billable: bool
    prompt_tokens: int = 0
    completion_tokens: int = 0

    @property
    def tokens(self) -> int:
        """Both together."""
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True)
class Price:
    """US dollars for a million tokens."""

    input: float
    output: float

    def of(self, cost: Cost) -> float:
        """What a request costs at most."""
        return (cost.prompt_tokens * self.input + cost.completion_tokens * self.output) / 1_000_000


def read_prices(path: Path) -> dict[str, Price]:
    """Prices by model, from a TOML file: a table ``["model name"]`` with ``input`` and ``output`` each.

    Raises:
        BadTarget: The file does not say that.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
        return {model: Price(float(row["input"]), float(row["output"])) for model, row in data.items()}
    except (OSError, ValueError, KeyError, TypeError) as error:
        msg = f'{path}: prices are tables ["model"] with input and output in USD for a million tokens ({error})'
        raise BadTarget(msg) from error


class Budget:
    """Counts what was spent and says what may still be sent.

    Args:
        limits: The caps.
        price: The model's price, if known; a cap in dollars needs one.
        clock: Monotonic seconds.
    """

    def __init__(
        self, limits: Limits, price: Price | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        if limits.usd is not None and price is None:
            msg = "a cap in dollars needs the model's price: --prices FILE"
            raise BadTarget(msg)
        self._limits = limits
        self._price = price
        self._clock = clock
        self._started = clock()
        self.requests = 0
        self.billable = 0
        self.tokens = 0
        self.usd = 0.0

    @property
    def deadline(self) -> float | None:
        """The moment when time is up."""
        return None if self._limits.seconds is None else self._started + self._limits.seconds

    def refusal(self, cost: Cost) -> str | None:
        """Why a request may not be sent any more, or None."""
        limits = self._limits
        if limits.seconds is not None and self._clock() - self._started >= limits.seconds:
            return f"the time of {limits.seconds:g} s is over"
        if not cost.billable:
            return None
        if limits.requests is not None and self.billable + 1 > limits.requests:
            return f"the budget of {limits.requests} billable requests is spent"
        if limits.tokens is not None and self.tokens + cost.tokens > limits.tokens:
            return f"the budget of {limits.tokens} tokens does not allow it"
        if limits.usd is not None and self._price and self.usd + self._price.of(cost) > limits.usd:
            return f"the budget of {limits.usd:g} USD does not allow it"
        return None

    def spend(self, cost: Cost) -> None:
        """Count a request as sent."""
        self.requests += 1
        if cost.billable:
            self.billable += 1
            self.tokens += cost.tokens
            self.usd += self._price.of(cost) if self._price else 0.0
