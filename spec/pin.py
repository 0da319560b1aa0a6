"""Make upstream.yaml: what the published spec says about the operations that we serve, without its prose."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from specserve.spec.document import METHODS, load, operations, parse
from specserve.spec.references import resolve

_PROSE = frozenset({"description", "title", "summary", "example", "examples", "externalDocs"})
# Below these, keys are names and not keywords.
_NAMED = frozenset({"properties", "schemas", "responses", "headers", "content", "paths"})

_HEADER = """\
# The published OpenAI spec, version {version}: the operations that we serve and the schemas that they refer to, without
# prose. Made by `specserve spec pin FILE`; never edit it by hand.
"""


class NotPublishedError(ValueError):
    """The published spec lacks an operation that the contract serves."""


class _Dumper(yaml.SafeDumper):
    """Writes equal parts out again in place of YAML aliases, and indents lists as the contract does."""

    def ignore_aliases(self, data: object) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def pin(published: Path, contract: Mapping[str, Any] | None = None) -> str:
    """Reduce a published spec to what we compare with: the operations that the contract takes from it.

    Args:
        published: The file, YAML or JSON.
        contract: The contract; as it is installed, if it is not given.

    Returns:
        The text of upstream.yaml; the same for the same input.

    Raises:
        NotPublishedError: An operation that we serve is not in it.
    """
    document: dict[str, Any] = parse(published.read_bytes())
    served = {operation.operation_id for operation in operations(contract or load()) if not operation.extension}
    paths = _published(document, served)
    reduced = {
        "openapi": document["openapi"],
        "info": {"version": document["info"]["version"]},
        "security": document.get("security", []),
        "paths": paths,
        "components": _referred(document, paths),
    }
    text = yaml.dump(reduced, Dumper=_Dumper, sort_keys=True, width=120, allow_unicode=True)
    return _HEADER.format(version=document["info"]["version"]) + text


def _published(document: Mapping[str, Any], served: set[str]) -> dict[str, Any]:
    paths: dict[str, Any] = {}
    missing = set(served)
    for path, item in document["paths"].items():
        for method in METHODS:
            operation_id = item.get(method, {}).get("operationId")
            if operation_id in missing:
                paths.setdefault(path, {})[method] = _strip(item[method])
                missing.discard(operation_id)
    if missing:
        msg = f"not in the published spec: {', '.join(sorted(missing))}"
        raise NotPublishedError(msg)
    return paths


def _referred(document: Mapping[str, Any], paths: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    components: dict[str, dict[str, Any]] = {}
    pending = list(_references(paths))
    while pending:
        reference = pending.pop()
        _, _, kind, name = reference.split("/")
        if name not in components.setdefault(kind, {}):
            components[kind][name] = _strip(resolve(document, {"$ref": reference}))
            pending.extend(_references(components[kind][name]))
    return components


def _references(node: object) -> Iterator[str]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key == "$ref":
                yield value
            else:
                yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)


def _strip(node: Any, *, names: bool = False) -> Any:
    if isinstance(node, Mapping):
        return {
            key: _strip(value, names=not names and key in _NAMED)
            for key, value in node.items()
            if names or not (key in _PROSE or key.startswith("x-"))
        }
    if isinstance(node, list):
        return [_strip(value) for value in node]
    return node
