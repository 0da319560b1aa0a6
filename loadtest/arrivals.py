"""When the requests of an open loop are due: drawn before the first is sent, so that no answer can move them."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MOST = 1_000_000


class BadArrivals(ValueError):
    """The text or the file describes no arrivals; the message says what does."""


@dataclass(frozen=True)
class Arrivals:
    """A process of arrivals.

    Attributes:
        kind: ``constant``, ``poisson``, ``gamma`` or ``trace``.
        burstiness: Of ``gamma``: its shape; 1 is Poisson, less comes in bursts, more is more even.
        trace: Seconds after the start, of ``trace``.
    """

    kind: str = "poisson"
    burstiness: float = 1.0
    trace: tuple[float, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Arrivals:
        """Read ``constant``, ``poisson``, ``gamma:0.5`` or ``trace:FILE``.

        Raises:
            BadArrivals: It is none of these, or the file holds no times.
        """
        kind, _, argument = text.partition(":")
        if kind in {"constant", "poisson"} and not argument:
            return cls(kind)
        if kind == "gamma":
            try:
                burstiness = float(argument)
            except ValueError:
                burstiness = 0.0
            if 0 < burstiness < MOST:
                return cls(kind, burstiness)
        if kind == "trace" and argument:
            return cls(kind, trace=_read(Path(argument)))
        msg = f"unknown arrivals {text!r}; give constant, poisson, gamma:BURSTINESS or trace:FILE"
        raise BadArrivals(msg)

    @property
    def mean_rate(self) -> float:
        """Requests a second of a trace."""
        return len(self.trace) / max(self.trace[-1], 1e-3)

    def times(self, rate: float, seconds: float, rng: random.Random) -> list[float]:
        """The moments, in seconds after the start of a stage, that fall into it. A trace knows its own rate."""
        found: list[float] = []
        source = iter(self.trace) if self.kind == "trace" else self._draw(rate, rng)
        for at in source:
            if at >= seconds:
                break
            if len(found) == MOST:
                msg = f"more than {MOST} requests in one stage"
                raise BadArrivals(msg)
            found.append(at)
        return found

    def _draw(self, rate: float, rng: random.Random) -> Iterator[float]:
        at, count = 0.0, 0
        while True:
            yield at
            count += 1
            match self.kind:
                case "constant":
                    at = count / rate
                case "gamma":
                    at += rng.gammavariate(self.burstiness, 1 / (self.burstiness * rate))
                case _:
                    at += rng.expovariate(rate)

    def __str__(self) -> str:
        return f"gamma:{self.burstiness:g}" if self.kind == "gamma" else self.kind


def _read(path: Path) -> tuple[float, ...]:
    """A time a line: a number of seconds, or a JSON object with ``at``."""
    times = []
    try:
        with path.open(encoding="utf-8") as file:
            for line in file:
                if line.strip():
                    value = json.loads(line)
                    times.append(float(value["at"] if isinstance(value, dict) else value))
                if len(times) > MOST:
                    msg = f"{path}: more than {MOST} times"
                    raise BadArrivals(msg)
    except (OSError, ValueError, TypeError, KeyError) as error:
        if isinstance(error, BadArrivals):
            raise
        msg = f'{path}: a trace has one number of seconds a line, or {{"at": seconds}} ({error})'
        raise BadArrivals(msg) from error
    if not times or min(times) < 0:
        msg = f"{path}: no times, or one before the start"
        raise BadArrivals(msg)
    return tuple(sorted(times))
