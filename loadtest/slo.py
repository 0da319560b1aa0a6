"""Objectives of a run: what a figure must stay under, or over, for the run to be good."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

DISTRIBUTIONS = ("ttft_event", "ttft_token", "itl", "tpot", "e2e", "ttft_token_scheduled", "e2e_scheduled")
"""Figures that many requests have, so that a statistic must be named."""

SCALARS = {
    "error_rate": ("errors", "share"),
    "goodput": ("good_share", "share"),
    "good_rate": ("good_per_s", "1/s"),
    "completed_rate": ("completed_per_s", "1/s"),
    "output_tokens_rate": ("output_tokens_per_s", "1/s"),
}
"""Figures that a stage has one of: name, key in a stage's rates, unit."""

STATISTICS = ("p50", "p75", "p90", "p95", "p99", "p999", "mean", "min", "max")

_FORM = re.compile(r"\s*(\w+)(?::(\w+))?\s*(<=|>=|<|>)\s*([\d.]+)\s*(ms|s|%)?\s*")
_COMPARE = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


class BadObjective(ValueError):
    """The text is no objective; the message says what one looks like."""


@dataclass(frozen=True)
class Objective:
    """One objective, such as ``ttft_token:p95<500ms``.

    Attributes:
        text: As it was written.
        metric: A name of `DISTRIBUTIONS` or `SCALARS`.
        statistic: One of `STATISTICS`; empty for a scalar.
        sign: How figure and threshold are compared.
        threshold: In seconds, a share of 1, or 1/s.
    """

    text: str
    metric: str
    statistic: str
    sign: str
    threshold: float

    @classmethod
    def parse(cls, text: str) -> Objective:
        """Read an objective.

        Raises:
            BadObjective: It is none.
        """
        found = _FORM.fullmatch(text)
        if found is None:
            msg = f"not an objective: {text!r}; write ttft_token:p95<500ms, error_rate<1% or goodput>=0.95"
            raise BadObjective(msg)
        metric, statistic, sign, number, unit = found.groups()
        try:
            value = float(number)
        except ValueError as error:
            msg = f"not a number: {number!r}"
            raise BadObjective(msg) from error
        if metric in DISTRIBUTIONS:
            if statistic not in STATISTICS or unit not in {"ms", "s"}:
                msg = f"{text!r}: {metric} needs a statistic ({', '.join(STATISTICS)}) and ms or s"
                raise BadObjective(msg)
            return cls(text.strip(), metric, statistic, sign, value / 1000 if unit == "ms" else value)
        if metric in SCALARS:
            if statistic or unit not in {None, "%"} or (unit == "%" and SCALARS[metric][1] != "share"):
                msg = f"{text!r}: {metric} takes no statistic, and its unit is {SCALARS[metric][1]}"
                raise BadObjective(msg)
            return cls(text.strip(), metric, "", sign, value / 100 if unit else value)
        msg = f"unknown figure {metric!r}; there are: {', '.join((*DISTRIBUTIONS, *SCALARS))}"
        raise BadObjective(msg)

    def holds(self, value: float) -> bool:
        """Whether a figure is as it should be."""
        return bool(_COMPARE[self.sign](value, self.threshold))

    def judge(self, stage: Mapping[str, Any]) -> dict[str, Any]:
        """What the objective says of a stage: ``met``, ``missed``, or ``undecided`` where there are too few samples."""
        value: float | None
        reason = ""
        if self.metric in SCALARS:
            value = stage["rates"][SCALARS[self.metric][0]]
            enough = stage["requests"]["finished"] > 0
            reason = "" if enough else "no request was measured"
        else:
            figures = stage["latency"].get(self.metric)
            value = figures[self.statistic] if figures else None
            least = least_samples(self.statistic)
            count = figures["count"] if figures else 0
            enough = count >= least
            reason = "" if enough else f"{count} samples; {self.statistic} needs {least}"
        status = "undecided" if value is None or not enough else ("met" if self.holds(value) else "missed")
        return {"objective": self.text, "value": value, "threshold": self.threshold, "status": status, "reason": reason}


def least_samples(statistic: str) -> int:
    """Below so many samples a percentile is a guess: the nearest rank would be the largest sample itself."""
    if statistic in {"mean", "min", "max"}:
        return 1
    return round(1 / (1 - share(statistic)))


def share(statistic: str) -> float:
    """The share of samples below a percentile: ``p95`` is 0.95, ``p999`` is 0.999."""
    digits = statistic.removeprefix("p")
    return float(f"0.{digits}")
