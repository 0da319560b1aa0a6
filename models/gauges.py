"""What the models are doing now, in figures: one function for each.

A gauge is named as the property of `HealthResponse` in the contract that shows it. Defining it here is all that it
takes to be part of `/health`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from specserve.models.served_model import ServedModel

Gauge = Callable[[Sequence[ServedModel]], float]

GAUGES: dict[str, Gauge] = {}
"""Name -> what measures it. Measuring is cheap: it is done for every health check."""


def gauge(measure: Gauge) -> Gauge:
    """Register a gauge under the name of its function."""
    GAUGES[measure.__name__] = measure
    return measure


@gauge
def num_requests_running(models: Sequence[ServedModel]) -> int:
    """Generations that the engines hold, as they count them."""
    return sum(model.activity.running for model in models)


@gauge
def num_requests_waiting(models: Sequence[ServedModel]) -> int:
    """Requests that wait for a model to be loaded, or for a slot."""
    return sum(model.waiting for model in models)


@gauge
def kv_cache_usage_perc(models: Sequence[ServedModel]) -> float:
    """The share of the KV cache in use, of the model whose cache is fullest."""
    return max((model.activity.cache_usage for model in models), default=0.0)
