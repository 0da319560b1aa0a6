"""operationId -> handler: `createChatCompletion` on `/chat/completions` is `handlers.chat.create_chat_completion`."""

from __future__ import annotations

import importlib
from collections.abc import Awaitable, Callable
from types import ModuleType

from connexion.exceptions import ResolverError
from connexion.operations import AbstractOperation
from connexion.resolver import Resolution, Resolver
from starlette.responses import Response

from specserve import handlers
from specserve.http.binding import handler_name

Handler = Callable[..., Awaitable[Response]]


class HandlerResolver(Resolver):
    """Finds the handler of each operation."""

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
        return Resolution(handler, operation.operation_id)


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
