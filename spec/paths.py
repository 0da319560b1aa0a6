"""Which operation a path means, as the contract's templates say.

A parameter in a path stands for one segment, unless its schema has the format ``path``: then it may hold slashes, as
the ids of local models do.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from specserve.spec.document import Operation, operations
from specserve.spec.references import resolve

Methods = Mapping[str, str]  # method in capitals -> operationId

_PARAMETER = re.compile(r"\{(\w+)\}")
_SEGMENT, _SEGMENTS = "[^/]+", ".+"


class UnreadablePath(Exception):
    """The contract describes a path parameter in a way that this reader does not know; the message says which."""


class Paths:
    """All paths of a contract.

    Raises:
        UnreadablePath: A path parameter is not described, or is not a string.
    """

    def __init__(self, document: Mapping[str, Any]) -> None:
        fixed: dict[str, dict[str, str]] = {}
        templates: dict[str, tuple[re.Pattern[str], dict[str, str]]] = {}
        for operation in operations(document):
            if "{" not in operation.path:
                methods = fixed.setdefault(operation.path, {})
            else:
                _, methods = templates.setdefault(operation.path, (_pattern(document, operation), {}))
            methods[operation.method.upper()] = operation.operation_id
        self._fixed: dict[str, Methods] = dict(fixed)
        # The most literal template first: `/models/{model}/load` before `/models/{model}`, which would match as well.
        self._templates: list[tuple[re.Pattern[str], Methods]] = [
            templates[path] for path in sorted(templates, key=lambda path: len(_PARAMETER.sub("", path)), reverse=True)
        ]

    def find(self, path: str) -> tuple[Methods, dict[str, str]] | None:
        """The methods of a path, each with its operation, and the path's parameters; None if there is no such path.

        Args:
            path: Decoded, without the base path and the query.
        """
        methods = self._fixed.get(path)
        if methods is not None:
            return methods, {}
        for pattern, methods in self._templates:
            if match := pattern.fullmatch(path):
                return methods, match.groupdict()
        return None


def _pattern(document: Mapping[str, Any], operation: Operation) -> re.Pattern[str]:
    schemas = path_parameters(document, operation)
    text, end = "", 0
    for found in _PARAMETER.finditer(operation.path):
        schema = schemas.get(found[1])
        if schema is None or schema.get("type") != "string":
            raise UnreadablePath(f"{operation.operation_id}: the path parameter {found[1]!r} must be a string")
        kind = _SEGMENTS if schema.get("format") == "path" else _SEGMENT
        text += f"{re.escape(operation.path[end : found.start()])}(?P<{found[1]}>{kind})"
        end = found.end()
    return re.compile(text + re.escape(operation.path[end:]), re.DOTALL)


def path_parameters(document: Mapping[str, Any], operation: Operation) -> dict[str, Mapping[str, Any]]:
    """Name -> schema of each parameter that stands in an operation's path, whether the path or the operation has it."""
    rows = [*document["paths"][operation.path].get("parameters", ()), *operation.spec.get("parameters", ())]
    described = [resolve(document, row) for row in rows]
    return {row["name"]: resolve(document, row["schema"]) for row in described if row["in"] == "path"}
