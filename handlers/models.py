"""The models that are served, and their life."""

from __future__ import annotations

from dataclasses import asdict

from starlette.requests import Request
from starlette.responses import Response

from specserve.generated.models import ListModelsResponse, Model, ModelCapabilities, ModelPrecision
from specserve.handlers._delivery.log_fields import note
from specserve.handlers._delivery.plain import json_response
from specserve.models.served_model import ServedModel
from specserve.spec.errors import PermissionDenied


async def list_models(request: Request) -> Response:
    """List every model, under each of its names."""
    models = [_describe(model, name) for name, model in request.state.registry.names.items()]
    return json_response(ListModelsResponse(object="list", data=models))


async def list_models_by_post(request: Request) -> Response:
    """List every model, for clients of local servers that ask by POST."""
    return await list_models(request)


async def retrieve_model(request: Request, model: str) -> Response:
    """Describe one model."""
    return json_response(_describe(request.state.registry.get(model), model))


async def load_model(request: Request, model: str) -> Response:
    """Load one model, and answer when it is loaded."""
    served = _administered(request, model)
    await served.load()
    return json_response(_describe(served, served.id))


async def unload_model(request: Request, model: str) -> Response:
    """Unload one model when its requests have finished, and answer then."""
    served = _administered(request, model)
    await served.unload()
    return json_response(_describe(served, served.id))


def _administered(request: Request, name: str) -> ServedModel:
    if not request.state.admin:
        raise PermissionDenied("This operation needs an admin key.")
    model: ServedModel = request.state.registry.get(name)
    note(request, model=model.id)
    return model


def _describe(model: ServedModel, name: str) -> Model:
    facts: dict[str, object] = {"state": model.state}
    if name != model.id:
        facts["alias_of"] = model.id
    if model.load_error is not None:
        facts["load_error"] = model.load_error
    if model.capabilities is not None:
        precision = model.capabilities.precision
        facts["capabilities"] = ModelCapabilities(
            context_length=model.capabilities.context_length,
            max_output_tokens=model.capabilities.max_output_tokens,
            embedding_dimensions=model.capabilities.embedding_dimensions,
            operations={key: sorted(parameters) for key, parameters in model.capabilities.operations.items()},
            **({} if precision is None else {"precision": ModelPrecision(exact=precision.exact, **asdict(precision))}),
        )
    return Model(id=name, object="model", created=model.created, owned_by=model.settings.owned_by, **facts)
