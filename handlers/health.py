"""Whether the server is well, and how busy."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from specserve.generated.models import HealthResponse, ModelCounts
from specserve.handlers._delivery.plain import json_response
from specserve.models.gauges import GAUGES


async def get_health(request: Request) -> Response:
    """Tell the state, and what each gauge shows."""
    models = list(request.state.registry)
    counts = ModelCounts(**{state: sum(model.state == state for model in models) for state in ModelCounts.model_fields})
    facts = {
        "status": "degraded" if counts.failed else "loading" if counts.loading else "ok",
        "version": request.state.version,
        "models": counts,
    }
    return json_response(
        HealthResponse.model_validate(facts | {name: measure(models) for name, measure in GAUGES.items()})
    )
