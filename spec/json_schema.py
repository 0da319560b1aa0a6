"""Turn an OpenAPI 3.0 schema into JSON Schema 2020-12, which any validator understands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from specserve.spec import absent_nulls
from specserve.spec.references import accepts_null

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_COMPONENTS = "#/components/schemas/"

# Prose, and what only OpenAPI tools read.
_DROPPED = frozenset({"example", "examples", "externalDocs", "xml", "nullable"})

# Keywords that may refuse null on behalf of another schema.
_APPLICATORS = frozenset({"allOf", "anyOf", "oneOf", "not", "$ref"})

Schema = Mapping[str, Any]


def to_json_schema(document: Schema, schema_or_ref: Schema | str, *, settled: bool = False) -> dict[str, Any]:
    """Make a self-contained JSON Schema.

    ``nullable`` becomes a type or branch ``null``; it is read as "null is allowed as well", also beside ``allOf``,
    ``oneOf`` and a ``$ref`` in them. The components that are referred to move to ``$defs``. ``discriminator`` stays
    as an annotation, vendor keys go.

    Args:
        document: The OpenAPI document.
        schema_or_ref: A schema in it, or a reference such as ``#/components/schemas/Model``.
        settled: Accept a request only in the one form in which it is handed on: without null or an empty list for "not
            given", without a key that would be dropped, and with what would be filled in.
    """
    converter = _Converter(document, settled=settled)
    schema = {"$ref": schema_or_ref} if isinstance(schema_or_ref, str) else schema_or_ref
    root = converter.convert(schema)
    definitions = converter.definitions()
    return {"$schema": DIALECT, **root, **({"$defs": definitions} if definitions else {})}


class _Converter:
    def __init__(self, document: Schema, *, settled: bool = False) -> None:
        self._document = document
        self._settled = settled
        self._pending: list[str] = []
        self._seen: set[str] = set()

    def definitions(self) -> dict[str, Any]:
        """The components that were referred to so far, and those that they refer to, sorted by name."""
        converted: dict[str, Any] = {}
        while self._pending:
            name = self._pending.pop()
            converted[name] = self.convert(self._document["components"]["schemas"][name])
        return dict(sorted(converted.items()))

    def convert(self, schema: Schema) -> dict[str, Any]:
        if "$ref" in schema:
            return {"$ref": self._reference(schema["$ref"])}
        double = schema.get("not", {}).get("not")
        if double is not None:
            schema = {**{key: value for key, value in schema.items() if key != "not"}, **double}
        out: dict[str, Any] = {}
        if self._settled:
            schema = _closed(schema)
        for key, value in schema.items():
            if key not in _DROPPED and not key.startswith("x-"):
                out[key] = self._keyword(key, value)
        for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
            if out.get(exclusive) is True:
                out[exclusive] = out.pop(bound)
            elif out.get(exclusive) is False:
                del out[exclusive]
        if len(out.get("allOf", ())) == 1 and not out["allOf"][0].keys() & out.keys():
            out.update(out.pop("allOf")[0])
        return self._with_null(schema, out) if schema.get("nullable") is True else out

    def _keyword(self, key: str, value: Any) -> Any:
        match key:
            case "properties":
                return {name: self._property(inner) for name, inner in value.items()}
            case "allOf" | "anyOf" | "oneOf":
                return [self.convert(inner) for inner in value]
            case "items" | "not":
                return self.convert(value)
            case "additionalProperties" if isinstance(value, Mapping):
                return self.convert(value)
            case "discriminator" if "mapping" in value:
                return {**value, "mapping": {tag: self._reference(ref) for tag, ref in value["mapping"].items()}}
            case _:
                return value

    def _property(self, schema: Schema) -> dict[str, Any]:
        converted = self.convert(schema)
        if not self._settled:
            return converted
        refused: list[dict[str, Any]] = []
        if schema.get(absent_nulls.KEY) == absent_nulls.ABSENT:
            refused.append({"type": "null"})
        if [] in schema.get("x-specserve-off", ()):
            refused.append({"type": "array", "maxItems": 0})
        return {"allOf": [converted], "not": {"anyOf": refused}} if refused else converted

    def _reference(self, reference: str) -> str:
        if not reference.startswith(_COMPONENTS):
            msg = f"only components can be referred to, not {reference}"
            raise ValueError(msg)
        name = reference.removeprefix(_COMPONENTS)
        if name not in self._seen:
            self._seen.add(name)
            self._pending.append(name)
        return f"#/$defs/{name}"

    def _with_null(self, schema: Schema, out: dict[str, Any]) -> dict[str, Any]:
        if "type" in out and not out.keys() & _APPLICATORS:
            out["type"] = [out["type"], "null"]
            if "enum" in out and None not in out["enum"]:
                out["enum"] = [*out["enum"], None]
            return out
        for union in ("oneOf", "anyOf"):
            if union in out and len(out.keys() & (_APPLICATORS | {"type", "enum"})) == 1:
                takers = sum(accepts_null(self._document, branch) for branch in schema[union])
                if takers == 0:
                    out[union] = [*out[union], {"type": "null"}]
                if takers <= 1 or union == "anyOf":
                    return out
        if not out.keys() & (_APPLICATORS | {"type", "enum"}):
            return out  # without any of these, null is allowed already
        notes: dict[str, Any] = {key: out.pop(key) for key in ("description", "default", "title") if key in out}
        return {**notes, "anyOf": [out, {"type": "null"}]}


def is_open(schema: Schema) -> bool:
    """Whether an object says which keys it has and takes others too: those are dropped, and named."""
    return schema.get("type") == "object" and "properties" in schema and "additionalProperties" not in schema


def filled(schema: Schema) -> dict[str, Any]:
    """The properties that a request is given where it lacks them, each with its value."""
    properties = schema.get("properties", {})
    return {name: node["default"] for name, node in properties.items() if node.get("x-specserve-filled")}


def _closed(schema: Schema) -> Schema:
    required = [*schema.get("required", ()), *filled(schema)]
    return {
        **schema,
        **({"required": required} if required else {}),
        **({"additionalProperties": False} if is_open(schema) else {}),
    }
