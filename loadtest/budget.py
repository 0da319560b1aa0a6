"""What a run may cost at most. Tokens are counted at their worst before a request is sent, so no cap is ever passed."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path


class BadPrices(ValueError):
    """The file holds no prices; the message says what it should hold."""


@dataclass(frozen=True)
class Price:
    """US dollars for a million tokens."""

    input: float
    output: float


@dataclass(frozen=True)
class Caps:
    """Hard caps on a whole run; there is no run without them.

    Attributes:
        requests: Requests that are sent.
        tokens: Tokens of prompts, and of answers at their longest.
        usd: Dollars, if the price is known; None is no cap.
    """

    requests: int = 100_000
    tokens: int = 50_000_000
    usd: float | None = None

    def share(self, processes: int) -> Caps:
        """What each of several processes may spend."""
        return Caps(
            self.requests // processes, self.tokens // processes, None if self.usd is None else self.usd / processes
        )


class Budget:
    """Counts what was spent, in one process."""

    def __init__(self, caps: Caps, price: Price | None) -> None:
        self._caps = caps
        self._price = price
        self.requests = 0
        self.tokens = 0
        self.usd = 0.0
        self.refusal = ""

    def take(self, prompt_tokens: int, output_tokens: int) -> bool:
        """Count a request, or refuse it and remember why."""
        caps, tokens = self._caps, prompt_tokens + output_tokens
        usd = 0.0
        if self._price is not None:
            usd = (prompt_tokens * self._price.input + output_tokens * self._price.output) / 1e6
        if self.requests + 1 > caps.requests:
            self.refusal = f"the cap of {caps.requests} requests was reached"
        elif self.tokens + tokens > caps.tokens:
            self.refusal = f"the cap of {caps.tokens} tokens was reached"
        elif caps.usd is not None and self.usd + usd > caps.usd:
            self.refusal = f"the cap of {caps.usd:g} USD was reached"
        else:
            self.requests += 1
            self.tokens += tokens
            self.usd += usd
            return True
        return False

    def settle(self, planned: int, counted: int | None) -> None:
        """Count what a prompt had more than it was made for, as the server says; what it had less is not given back."""
        more = max((counted or 0) - planned, 0)
        self.tokens += more
        if self._price is not None:
            self.usd += more * self._price.input / 1e6


def read_prices(path: Path) -> dict[str, Price]:
    """Prices by model, from a TOML file: a table ``["model name"]`` with ``input`` and ``output`` each.

    Raises:
        BadPrices: The file does not say that.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
        return {model: Price(float(row["input"]), float(row["output"])) for model, row in data.items()}
    except (OSError, ValueError, KeyError, TypeError) as error:
        msg = f'{path}: prices are tables ["model"] with input and output in USD for a million tokens ({error})'
        raise BadPrices(msg) from error
