"""Counts."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from specserve.backends.abilities import Counts
from specserve.generated.models import CreateCountRequest
from specserve.handlers._delivery.model import served_model
from specserve.handlers._delivery.plain import json_response


async def create_count(request: Request, body: CreateCountRequest) -> Response:
    """Count letters."""
    model, body = await served_model(request, "createCount", body)
    async with model.admission.slot():
        return json_response(await model.backend.ability(Counts).count(body))
