"""Embeddings."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from specserve.backends.abilities import Embeds
from specserve.backends.base import EncodedAnswer
from specserve.generated.models import CreateEmbeddingRequest, CreateEmbeddingResponse
from specserve.handlers._delivery.log_fields import note
from specserve.handlers._delivery.model import served_model
from specserve.handlers._delivery.plain import encoded_response, json_response
from specserve.handlers._delivery.watching import until_disconnect
from specserve.models.served_model import ServedModel


async def create_embedding(request: Request, body: CreateEmbeddingRequest) -> Response:
    """Turn texts into vectors."""
    model, body = await served_model(request, "createEmbedding", body)
    answer = await until_disconnect(request.receive, _embed(model, body))
    if isinstance(answer, EncodedAnswer):
        return encoded_response(request, answer)
    note(request, prompt_tokens=answer.usage.prompt_tokens)
    return json_response(answer)


async def _embed(model: ServedModel, body: CreateEmbeddingRequest) -> CreateEmbeddingResponse | EncodedAnswer:
    async with model.admission.slot():
        return await model.backend.ability(Embeds).embed(body)
