"""Whether the server is well, and how busy."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from specserve.generated.models import HealthResponse, ModelCounts
from specserve.handlers._delivery.plain import json_response


async def get_health(request: Request) -> Response:
    """Tell the state; the counts of running generations are the engines' own."""
    models = list(request.state.registry)
    loads = [model.activity for model in models]
    counts = ModelCounts(**{state: sum(model.state == state for model in models) for state in ModelCounts.model_fields})
    return json_response(
        HealthResponse(
            status="degraded" if counts.failed else "loading" if counts.loading else "ok",
            version=request.state.version,
            num_requests_running=sum(load.running for load in loads),
            num_requests_waiting=sum(model.waiting for model in models),
            kv_cache_usage_perc=max((load.cache_usage for load in loads), default=0.0),
            models=counts,
        )
    )
