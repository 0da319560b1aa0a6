"""The end of a request's way: its operation's handler is called.

A Connexion middleware like those of validation. It stands in the place of Connexion's own end, which routes once more
and builds its decorators, a parser of parameters and a signature anew for each request.
"""

from __future__ import annotations

import inspect
from typing import Any

from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from specserve.http.binding import Handler
from specserve.http.connexion_seam import AbstractOperation, OperationAPI, RoutedMiddleware
from specserve.http.violations import format_path
from specserve.spec.errors import InvalidRequest


class HandlerOperation:
    """Calls ``handler(request[, body][, path parameters])``.

    What the handler takes is read from its signature here, once, not per request. The body is the one that validation
    has parsed; path parameters come from Connexion's routing by name.
    """

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        parameters = inspect.signature(handler, eval_str=True).parameters
        self._body_model: type[BaseModel] | None = parameters["body"].annotation if "body" in parameters else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request.

        Raises:
            InvalidRequest: The body is not what the generated model takes.
        """
        request = Request(scope, receive)
        arguments: dict[str, Any] = dict(scope["path_params"])
        if self._body_model is not None:
            arguments["body"] = _parse(self._body_model, scope["state"]["body"])
        response = await self._handler(request, **arguments)
        await response(scope, receive, send)


class HandlerAPI(OperationAPI[HandlerOperation]):
    """The handlers of one spec, as `binding.py` found them."""

    def make_operation(self, operation: AbstractOperation) -> HandlerOperation:
        """Take the function that is bound to an operation."""
        return HandlerOperation(operation.function)


class HandlerMiddleware(RoutedMiddleware[HandlerAPI]):
    """Connexion's hook for `HandlerAPI`."""

    api_cls = HandlerAPI


def _parse(model: type[BaseModel], body: Any) -> BaseModel:
    """Make the generated model of a body that the spec's validator has passed."""
    try:
        return model.model_validate(body)
    except ValidationError as error:
        # The models are a second reading of the spec, by another tool; where it is narrower the answer is still a 400.
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        param = format_path(first["loc"])
        raise InvalidRequest(f"Invalid value for '{param}'.", param=param) from error
