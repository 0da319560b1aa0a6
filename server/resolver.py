"""operationId -> handler: `createChatCompletion` on `/chat/completions` is `handlers.chat.create_chat_completion`."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Awaitable, Callable
from types import ModuleType
from typing import Any

from connexion import context
from connexion.exceptions import ResolverError
from connexion.operations import AbstractOperation
from connexion.resolver import Resolution, Resolver
from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from specserve import handlers
from specserve.backends.errors import InvalidRequest
from specserve.binding import handler_name
from specserve.violations import format_path

Handler = Callable[..., Awaitable[Response]]


class HandlerResolver(Resolver):
    """Finds the handler of each operation and adapts it to Connexion."""

    def __init__(self, package: ModuleType = handlers) -> None:
        super().__init__()
        self._package = package.__name__

    def resolve_operation_id(self, operation: AbstractOperation) -> str:
        """The dotted name of an operation's handler."""
        return handler_name(self._package, operation.path, operation.operation_id)

    def resolve(self, operation: AbstractOperation) -> Resolution:
        """Bind an operation.

        Raises:
            ResolverError: There is no such function.
        """
        name = self.resolve_operation_id(operation)
        handler = find_handler(name)
        return Resolution(_endpoint(handler), operation.operation_id)


def find_handler(name: str) -> Handler:
    """Import a handler by its dotted name.

    Raises:
        ResolverError: There is no such module or function.
    """
    module_name, _, function_name = name.rpartition(".")
    try:
        handler: Handler = getattr(importlib.import_module(module_name), function_name)
    except (AttributeError, ModuleNotFoundError) as error:
        if isinstance(error, ModuleNotFoundError) and error.name != module_name:
            raise  # the module is there, something that it needs is not
        raise ResolverError(f"there is no handler {name}") from error
    return handler


def _endpoint(handler: Handler) -> Handler:
    """Adapt ``handler(request[, body][, path parameters])`` to Connexion's calling convention.

    What the handler takes is read from its signature here, once, not per request. The body is the one that validation
    has parsed; path parameters come from Connexion by name.
    """
    parameters = inspect.signature(handler, eval_str=True).parameters
    body_model = parameters["body"].annotation if "body" in parameters else None

    async def endpoint(**arguments: Any) -> Response:
        request = Request(dict(context.scope), context.receive)
        if body_model is not None:
            arguments["body"] = _parse(body_model, request.state.body)
        return await handler(request, **arguments)

    # Connexion looks at the signature: one that takes anything would be given the body too, read a second time.
    endpoint.__signature__ = inspect.Signature()  # type: ignore[attr-defined]  # functions may have one (PEP 362)
    return endpoint


def _parse(model: type[BaseModel], body: Any) -> BaseModel:
    """Make the generated model of a body that the spec's validator has passed."""
    try:
        return model.model_validate(body)
    except ValidationError as error:
        # The models are a second reading of the spec, by another tool; where it is narrower the answer is still a 400.
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        param = format_path(first["loc"])
        raise InvalidRequest(f"Invalid value for '{param}'.", param=param) from error
