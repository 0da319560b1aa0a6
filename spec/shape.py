"""The shape of a schema: what it accepts, in one notation for OpenAPI 3.0 and 3.1, so that two can be compared.

References and ``allOf`` are merged, null in any notation becomes ``nullable``, ``anyOf`` and ``oneOf`` become one flat
list of branches, and prose, ``deprecated`` and ``discriminator`` are dropped.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from specserve.spec.references import resolve

Schema = Mapping[str, Any]

# Keywords that are compared by their value.
VALUES = (
    "type",
    "format",
    "enum",
    "default",
    "minimum",
    "exclusiveMinimum",
    "maximum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "pattern",
    "minItems",
    "maxItems",
    "uniqueItems",
    "minProperties",
    "maxProperties",
    "not",
    "x-specserve-one-of",
)
_UNIONS = ("anyOf", "oneOf")
# Beside a reference, these say something about the place of use and not about what is referred to.
_OF_THE_PLACE = frozenset({"nullable", "default", "description", "deprecated"})
_TAGS = ("type", "role", "object")


def component(document: Schema, schema: Schema) -> str | None:
    """The name of the component that a schema stands for, if it is no more than a reference, nullable or not."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    structure = [key for key in schema if key not in _OF_THE_PLACE and not key.startswith("x-")]
    if len(structure) != 1 or structure[0] not in {"allOf", *_UNIONS}:
        return None
    inner = [branch for branch in schema[structure[0]] if not _is_null(branch)]
    return component(document, inner[0]) if len(inner) == 1 else None


def shape(document: Schema, schema: Schema) -> dict[str, Any]:
    """Bring a schema into the one notation, one level deep: its properties, items and branches stay as they are."""
    if "$ref" in schema:
        beside = {key: value for key, value in schema.items() if key != "$ref"}
        return _overlay(shape(document, resolve(document, {"$ref": schema["$ref"]})), shape(document, beside))
    own = _own(schema)
    for branch in schema.get("allOf", ()):
        own = (
            _overlay(shape(document, branch), own)
            if len(schema["allOf"]) == 1
            else _merge(own, shape(document, branch))
        )
    for union in _UNIONS:
        if union in schema:
            own = _with_branches(document, own, schema[union])
    if "type" not in own and "properties" in own:
        own["type"] = "object"
    return own


def signature(document: Schema, schema: Schema) -> str:
    """Tells the branches of a union apart: the type, and what its tag says or what it is made of."""
    form = shape(document, schema)
    if "branches" in form:
        return "union"
    kind = str(form.get("type", "any"))
    if kind == "array":
        return f"array<{signature(document, form.get('items', {}))}>"
    if kind == "object":
        for tag in _TAGS:
            values = shape(document, form.get("properties", {}).get(tag, {})).get("enum", [])
            if len(values) == 1:
                return f"object:{values[0]}"
    return f"{kind}:enum" if "enum" in form else kind


def _own(schema: Schema) -> dict[str, Any]:
    own = {key: schema[key] for key in (*VALUES, "properties", "items", "additionalProperties") if key in schema}
    nullable = schema.get("nullable") is True
    if isinstance(own.get("type"), list):
        nullable = nullable or "null" in own["type"]
        kinds = [kind for kind in own["type"] if kind != "null"]
        own["type"] = kinds[0] if len(kinds) == 1 else sorted(kinds)
    if "const" in schema:
        own["enum"] = [schema["const"]]
    if "enum" in own:
        nullable = nullable or None in own["enum"]
        own["enum"] = sorted((value for value in own["enum"] if value is not None), key=str)
    for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if own.get(exclusive) is True:
            own[exclusive] = own.pop(bound)
    if own.get("default", "") is None:
        del own["default"]  # null as a default says that there is none
    if own.get("additionalProperties") in (True, {}):
        del own["additionalProperties"]
    if schema.get("required"):
        own["required"] = sorted(schema["required"])
    if nullable:
        own["nullable"] = True
    return own


def _with_branches(document: Schema, own: dict[str, Any], branches: list[Schema]) -> dict[str, Any]:
    flat: list[Schema] = []
    for branch in branches:
        form = shape(document, branch)
        if _is_null(branch) or form.get("nullable"):
            own["nullable"] = True
        if not _is_null(branch):
            flat.extend(form.get("branches", [branch]))
    return _overlay(shape(document, flat[0]), own) if len(flat) == 1 else {**own, "branches": flat}


def _overlay(base: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """What stands at the place of use goes before what is referred to."""
    return _merge(base, above) | ({"nullable": True} if above.get("nullable") or base.get("nullable") else {})


def _merge(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Both must hold. A property that both describe is taken from the second, as the published spec overrides them."""
    merged = {**first, **second}
    if "properties" in first and "properties" in second:
        merged["properties"] = {**first["properties"], **second["properties"]}
    if "required" in first and "required" in second:
        merged["required"] = sorted({*first["required"], *second["required"]})
    return merged


def _is_null(schema: Schema) -> bool:
    return schema.get("type") == "null" or schema.get("enum") == [None]
