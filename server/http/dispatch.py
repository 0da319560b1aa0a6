"""The end of a request's way: its operation's handler is called.

A Connexion middleware like those of validation. It stands in the place of Connexion's own end, which routes once more
and builds its decorators, a parser of parameters and a signature anew for each request.
"""

from __future__ import annotations

import inspect
from typing import Any

from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from specserve.http.binding import Handler
from specserve.http.connexion_seam import AbstractOperation, OperationAPI, RoutedMiddleware
from specserve.http.off_loop import LARGE_BODY_BYTES
from specserve.http.reader import List, Node, Nullable, Object
from specserve.http.reader_compiler import compile_reader
from specserve.http.request_models import RequestModel


class HandlerOperation:
    """Calls ``handler(request[, body][, path parameters])``.

    What the handler takes is read from its signature here, once, not per request. The body is the one that validation
    has parsed; path parameters come from Connexion's routing by name.
    """

    def __init__(self, handler: Handler, body: Node | None = None) -> None:
        self._handler = handler
        parameters = inspect.signature(handler, eval_str=True).parameters
        self._body_model: RequestModel | None = None
        if "body" in parameters:
            properties = body.properties if isinstance(body, Object) else {}
            nodes = {name: node.of if isinstance(node, Nullable) else node for name, node in properties.items()}
            self._body_model = RequestModel(
                parameters["body"].annotation,
                holds_many=[name for name, node in nodes.items() if node.holds_many],
                lists=[name for name, node in nodes.items() if isinstance(node, List) and node.items.holds_many],
            )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request.

        Raises:
            InvalidRequest: The body is not what the generated model takes.
        """
        request = Request(scope, receive)
        arguments: dict[str, Any] = dict(scope["path_params"])
        if self._body_model is not None:
            state = scope["state"]
            arguments["body"] = self._body_model.make(state["body"], large=state["body_bytes"] > LARGE_BODY_BYTES)
        response = await self._handler(request, **arguments)
        await response(scope, receive, send)


class HandlerAPI(OperationAPI[HandlerOperation]):
    """The handlers of one spec, as `binding.py` found them."""

    def make_operation(self, operation: AbstractOperation) -> HandlerOperation:
        """Take the function that is bound to an operation."""
        content = operation.request_body.get("content", {}).get("application/json")
        body = compile_reader(self.specification.raw, content["schema"]) if content else None
        return HandlerOperation(operation.function, body)


class HandlerMiddleware(RoutedMiddleware[HandlerAPI]):
    """Connexion's hook for `HandlerAPI`."""

    api_cls = HandlerAPI
