"""All that we take from Connexion beyond its public names, in one place.

Connexion reads the contract and checks it when the server starts, makes one object of each operation, and gives each
request to the objects of its operation. The rest of a request's way is our own: `paths.py` finds the operation,
`validation.py` validates, `dispatch.py` calls the handler. `tests/server/test_connexion_seam.py` says what we rely on;
pyproject.toml keeps Connexion within the versions for which that is known to hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from connexion import AsyncApp
from connexion.middleware.abstract import ROUTING_CONTEXT, RoutedAPI, RoutedMiddleware
from connexion.middleware.lifespan import LifespanMiddleware
from connexion.operations import AbstractOperation
from connexion.resolver import Resolution, Resolver
from connexion.spec import Specification

from specserve.http.binding import Handler

Op = TypeVar("Op")


class OperationAPI(RoutedAPI[Op], Generic[Op]):
    """Makes an ASGI application of each operation of a contract: `make_operation`, which a subclass has.

    Attributes:
        specification: The contract; its `raw` is the document as it was given.
        next_app: What follows on a request's way.
    """

    def __init__(self, specification: Specification, *args: Any, **kwargs: Any) -> None:
        super().__init__(specification, *args, **kwargs)
        self.add_paths()


class TableResolver(Resolver):
    """Gives each operation its handler from a table by operationId."""

    def __init__(self, handlers: Mapping[str, Handler]) -> None:
        super().__init__()
        self._handlers = handlers

    def resolve(self, operation: AbstractOperation) -> Resolution:
        """Bind an operation."""
        return Resolution(self._handlers[operation.operation_id], operation.operation_id)


def routed(scope: Mapping[str, Any], base_path: str, operation_id: str) -> dict[str, Any]:
    """The `extensions` of a request's scope, which tell the middlewares of operations which one it is."""
    context = {"api_base_path": base_path, "operation_id": operation_id}
    return {**scope.get("extensions", {}), ROUTING_CONTEXT: context}


__all__ = [
    "AbstractOperation",
    "AsyncApp",
    "LifespanMiddleware",
    "OperationAPI",
    "RoutedMiddleware",
    "Specification",
    "TableResolver",
    "routed",
]
