"""Which handler belongs to which operation, by name alone; the start compares both sides."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from types import ModuleType
from typing import Any

from specserve import handlers
from specserve.spec.document import operations


class UnboundOperations(Exception):
    """The contract and the handlers do not match; the message holds the dotted names."""


def handler_name(package: str, path: str, operation_id: str) -> str:
    """The rule: package, first segment of the path, operationId in snake_case."""
    module = path.strip("/").split("/")[0]
    return f"{package}.{module}.{re.sub(r'(?<!^)(?=[A-Z])', '_', operation_id).lower()}"


def check_bound(document: dict[str, Any], package: ModuleType = handlers) -> None:
    """Compare the operations of the spec with the public coroutine functions of the handlers, both ways.

    Raises:
        UnboundOperations: An operation has no handler, or a handler no operation.
    """
    wanted = {handler_name(package.__name__, o.path, o.operation_id) for o in operations(document)}
    present = set()
    for module_info in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        if module_info.name.rpartition(".")[2].startswith("_"):
            continue
        module = importlib.import_module(module_info.name)
        present |= {
            f"{module.__name__}.{name}"
            for name, value in vars(module).items()
            if inspect.iscoroutinefunction(value) and value.__module__ == module.__name__ and not name.startswith("_")
        }
    faults = [f"operation without handler: {name}" for name in sorted(wanted - present)]
    faults += [f"handler without operation: {name}" for name in sorted(present - wanted)]
    if faults:
        raise UnboundOperations("; ".join(faults))
