"""The models that are served."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from specserve.backends.registry import ServedModel
from specserve.generated.models import ListModelsResponse, Model, ModelCapabilities
from specserve.handlers._answer import json_response


async def list_models(request: Request) -> Response:
    """List every model."""
    models = [_describe(model) for model in request.state.registry]
    return json_response(ListModelsResponse(object="list", data=models))


async def list_models_by_post(request: Request) -> Response:
    """List every model, for clients of local servers that ask by POST."""
    return await list_models(request)


async def retrieve_model(request: Request, model: str) -> Response:
    """Describe one model."""
    return json_response(_describe(request.state.registry.get(model)))


def _describe(model: ServedModel) -> Model:
    capabilities = model.backend.capabilities
    return Model(
        id=model.id,
        object="model",
        created=model.created,
        owned_by=model.backend.settings.owned_by,
        capabilities=ModelCapabilities(
            context_length=capabilities.context_length,
            max_output_tokens=capabilities.max_output_tokens,
            embedding_dimensions=capabilities.embedding_dimensions,
            operations={name: sorted(parameters) for name, parameters in capabilities.operations.items()},
        ),
    )
