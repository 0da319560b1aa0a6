"""`x-specserve-null: absent`: in a request that carries it, null for a property that is not required is "not given".

The contract says so once for each request. Here it is written out on every property that it holds for, so that each
tool that reads the document knows: the property becomes ``nullable`` and carries the key itself.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from specserve.spec.references import accepts_null, resolve

KEY = "x-specserve-null"
ABSENT = "absent"

Schema = dict[str, Any]


def written_out(document: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the contract with the key on every optional property of the requests that carry it.

    A property below the request itself that may be null in its own right keeps its null: there it is a value, such as
    the `content` of an assistant's message. On the request itself no optional property has such a value.
    """
    written: dict[str, Any] = copy.deepcopy(dict(document))
    schemas: dict[str, Schema] = written["components"]["schemas"]
    pending: list[Any] = [(schema, True) for schema in schemas.values() if schema.get(KEY) == ABSENT]
    seen: set[int] = set()
    while pending:
        node, is_request = pending.pop()
        schema: Any = resolve(written, node)
        if id(schema) in seen:
            continue
        seen.add(id(schema))
        properties = schema.get("properties", {})
        for key in ("allOf", "oneOf", "anyOf"):
            pending.extend((branch, False) for branch in schema.get(key, ()))
        pending.extend((inner, False) for inner in properties.values())
        pending.extend(
            (schema[key], False) for key in ("items", "additionalProperties") if isinstance(schema.get(key), dict)
        )
        for name in properties.keys() - set(schema.get("required", ())):
            if not accepts_null(written, properties[name]):
                properties[name] = _nullable(properties[name])
            elif is_request:
                properties[name] = {**_in_place(properties[name]), KEY: ABSENT}
    return written


def _nullable(node: Schema) -> Schema:
    marked = {**_in_place(node), "nullable": True, KEY: ABSENT}
    if "enum" in marked:
        marked["enum"] = [*marked["enum"], None]
    return marked


def _in_place(node: Schema) -> Schema:
    """Beside a reference nothing counts, so it moves into an ``allOf``."""
    return {"allOf": [node]} if "$ref" in node else node
