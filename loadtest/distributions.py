"""How many tokens a prompt or an answer shall have: one number, or numbers drawn from a distribution."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

LARGEST = 1_000_000


class BadDistribution(ValueError):
    """The text names no distribution; the message says what does."""


@dataclass(frozen=True)
class Distribution:
    """Whole numbers of at least 1.

    Attributes:
        kind: ``fixed``, ``uniform``, ``normal`` or ``lognormal``.
        first: The number; the least; the mean.
        second: Unused; the largest; the standard deviation.
    """

    kind: str
    first: float
    second: float = 0.0

    @classmethod
    def parse(cls, text: str) -> Distribution:
        """Read ``128``, ``64-256`` (uniform), ``normal:128,32`` or ``lognormal:128,64`` (mean, standard deviation).

        Raises:
            BadDistribution: It is none of these.
        """
        kind, _, numbers = text.partition(":")
        try:
            if kind in {"normal", "lognormal"}:
                first, second = (float(number) for number in numbers.split(","))
            elif "-" in text:
                kind = "uniform"
                first, second = (float(int(number)) for number in text.split("-"))
            else:
                kind, first, second = "fixed", float(int(text)), 0.0
        except ValueError:
            first = second = math.nan
        if not (1 <= first <= LARGEST and 0 <= second <= LARGEST) or (kind == "uniform" and second < first):
            msg = f"not a distribution of tokens: {text!r}; give 128, 64-256, normal:128,32 or lognormal:128,64"
            raise BadDistribution(msg)
        return cls(kind, first, second)

    def sample(self, rng: random.Random) -> int:
        """Draw a number."""
        match self.kind:
            case "uniform":
                value: float = rng.randint(int(self.first), int(self.second))
            case "normal":
                value = rng.gauss(self.first, self.second)
            case "lognormal":
                # Of the values themselves, as people measure them, not of their logarithms.
                spread = math.log1p((self.second / self.first) ** 2)
                value = rng.lognormvariate(math.log(self.first) - spread / 2, math.sqrt(spread))
            case _:
                value = self.first
        return min(max(round(value), 1), LARGEST)

    def __str__(self) -> str:
        match self.kind:
            case "fixed":
                return f"{self.first:g}"
            case "uniform":
                return f"{self.first:g}-{self.second:g}"
            case _:
                return f"{self.kind}:{self.first:g},{self.second:g}"
