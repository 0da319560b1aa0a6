"""Which handler belongs to which operation, by name alone; the start compares both sides.

`createChatCompletion` on `/chat/completions` is `specserve.handlers.chat.create_chat_completion`.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Awaitable, Callable, Mapping
from types import ModuleType
from typing import Any

from starlette.responses import Response

from specserve import handlers
from specserve.spec.document import operations

Handler = Callable[..., Awaitable[Response]]


class UnboundOperations(Exception):
    """The contract and the handlers do not match; the message holds the dotted names."""


def handler_name(package: str, path: str, operation_id: str) -> str:
    """The rule: package, first segment of the path, operationId in snake_case."""
    module = path.strip("/").split("/")[0]
    return f"{package}.{module}.{re.sub(r'(?<!^)(?=[A-Z])', '_', operation_id).lower()}"


def bind(document: Mapping[str, Any], package: ModuleType = handlers) -> dict[str, Handler]:
    """Find the handler of each operation among the public coroutine functions of the handlers.

    Returns:
        operationId -> handler.

    Raises:
        UnboundOperations: An operation has no handler, or a handler no operation.
    """
    wanted = {handler_name(package.__name__, o.path, o.operation_id): o.operation_id for o in operations(document)}
    present: dict[str, Handler] = {}
    for module_info in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        if module_info.name.rpartition(".")[2].startswith("_"):
            continue
        module = importlib.import_module(module_info.name)
        present |= {
            f"{module.__name__}.{name}": value
            for name, value in vars(module).items()
            if inspect.iscoroutinefunction(value) and value.__module__ == module.__name__ and not name.startswith("_")
        }
    faults = [f"operation without handler: {name}" for name in sorted(wanted.keys() - present.keys())]
    faults += [f"handler without operation: {name}" for name in sorted(present.keys() - wanted.keys())]
    if faults:
        raise UnboundOperations("; ".join(faults))
    return {operation_id: present[name] for name, operation_id in wanted.items()}
