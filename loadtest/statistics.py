"""Statistics of raw samples: nothing is put into buckets, so nothing is rounded."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from specserve.loadtest.slo import share

PERCENTILES = ("p50", "p75", "p90", "p95", "p99", "p999")
_WITH_INTERVAL = ("p50", "p95", "p99")


def percentile(ordered: list[float], part: float) -> float:
    """The nearest rank: the smallest sample that at least this share of samples does not exceed."""
    return ordered[max(math.ceil(part * len(ordered) - 1e-9), 1) - 1]


def interval(ordered: list[float], part: float) -> tuple[float, float] | None:
    """Between which samples the true percentile lies with 95 %, whatever the distribution; None if too few tell.

    The number of samples below a percentile is binomial; its normal approximation gives the two ranks.
    """
    count = len(ordered)
    spread = 1.96 * math.sqrt(count * part * (1 - part))
    low, high = math.floor(count * part - spread), math.ceil(count * part + spread) + 1
    return (ordered[low - 1], ordered[high - 1]) if low >= 1 and high <= count else None


def describe(values: Iterable[float]) -> dict[str, Any] | None:
    """Count, mean, standard deviation, extremes, percentiles and intervals of some; None if there are none."""
    ordered = sorted(values)
    if not ordered:
        return None
    mean = math.fsum(ordered) / len(ordered)
    variance = math.fsum((value - mean) ** 2 for value in ordered) / max(len(ordered) - 1, 1)
    found: dict[str, Any] = {"count": len(ordered), "mean": mean, "sd": math.sqrt(variance)}
    found |= {"min": ordered[0], "max": ordered[-1]}
    found |= {name: percentile(ordered, share(name)) for name in PERCENTILES}
    found["interval95"] = {name: interval(ordered, share(name)) for name in _WITH_INTERVAL}
    return found
