"""Compiles a schema of the contract into what `reader.py` reads with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from specserve.http.reader import KINDS, List, Map, Node, Nullable, Object, Opaque, Scalar, Union, Unread
from specserve.spec import absent_nulls
from specserve.spec.json_schema import filled, is_open, to_json_schema
from specserve.spec.references import resolve

Schema = Mapping[str, Any]

_SAYS_NOTHING = frozenset(
    {"default", "description", "discriminator", "example", "format", "nullable", "title", "type", "x-specserve-one-of"}
)
_OF_LISTS = frozenset({"items", "maxItems", "minItems"})
_OF_OBJECTS = frozenset({"properties", "required", "additionalProperties"})
_OF_MAPS = frozenset({"additionalProperties", "maxProperties"})
_SCALARS = frozenset({"boolean", "integer", "number", "string"})
_ANY = frozenset(KINDS.values())


def compile_reader(document: Schema, schema: Schema) -> Node:
    """Compile a schema.

    Args:
        document: The contract, as `spec.document.load` gives it.
        schema: A schema in it.

    A part with a keyword that the reader does not know is judged by a validator, as a whole.
    """
    return _Compiler(document).node(schema)


class _Compiler:
    def __init__(self, document: Schema) -> None:
        self._document = document
        self._made: dict[int, Node] = {}

    def node(self, schema: Schema) -> Node:
        whole = resolve(self._document, schema)
        if id(whole) not in self._made:
            node = self._node(whole)
            self._made[id(whole)] = Nullable(node) if whole.get("nullable") is True else node
        return self._made[id(whole)]

    def _node(self, schema: Schema) -> Node:
        says = {key for key in schema if key not in _SAYS_NOTHING and not key.startswith("x-")}
        if says == {"allOf"} and len(schema["allOf"]) == 1:
            return self.node(schema["allOf"][0])
        if says in ({"oneOf"}, {"anyOf"}):
            return self._union(schema)
        if "x-specserve-one-of" in schema:
            says.discard("not")  # it says the same
        kind = schema.get("type")
        if kind in _SCALARS:
            plain = {key: value for key, value in schema.items() if key != "nullable"}
            if None in plain.get("enum", ()):
                plain["enum"] = [value for value in plain["enum"] if value is not None]
            return Scalar(to_json_schema(self._document, plain), frozenset({kind}))
        if kind == "array" and says <= _OF_LISTS:
            return List(schema, self.node(schema.get("items", {})))
        if kind == "object" and "properties" in schema and says <= _OF_OBJECTS:
            return self._object(schema)
        if kind == "object" and says <= _OF_MAPS and isinstance(schema.get("additionalProperties"), Mapping):
            return Map(schema, self.node(schema["additionalProperties"]))
        if kind == "object" and says <= {"additionalProperties"} and schema.get("additionalProperties", True) is True:
            return Unread(frozenset({"object"}))
        if kind is None and not says:
            return Unread(_ANY)
        return Opaque(to_json_schema(self._document, schema))

    def _object(self, schema: Schema) -> Node:
        properties: Mapping[str, Schema] = schema["properties"]
        extra = schema.get("additionalProperties", False)
        if extra is not False:
            return Opaque(to_json_schema(self._document, schema))
        return Object(
            properties={name: self.node(node) for name, node in properties.items()},
            required=schema.get("required", ()),
            one_of=schema.get("x-specserve-one-of", ()),
            is_open=is_open(schema),
            absent_nulls=frozenset(
                name for name, node in properties.items() if node.get(absent_nulls.KEY) == absent_nulls.ABSENT
            ),
            absent_lists=frozenset(name for name, node in properties.items() if [] in node.get("x-specserve-off", ())),
            filled=filled(schema),
        )

    def _union(self, schema: Schema) -> Node:
        branches = [self.node(branch) for branch in schema.get("oneOf", schema.get("anyOf"))]
        by_kind: dict[str, list[Node]] = {}
        for branch in branches:
            for kind in branch.kinds:
                by_kind.setdefault(kind, []).append(branch)
        lists = [branch for branch in by_kind.get("array", ()) if isinstance(branch, List)]
        objects = [branch for branch in by_kind.get("object", ()) if isinstance(branch, Object)]
        several = {kind for kind, of_kind in by_kind.items() if len(of_kind) > 1}
        tag, tagged = _told_apart(objects) if "object" in several else ("", {})
        known = {"array": len(lists), "object": len(tagged)}
        if any(known.get(kind) != len(by_kind[kind]) for kind in several):
            return Opaque(to_json_schema(self._document, schema))
        return Union(
            types=frozenset[str]().union(*(branch.types for branch in branches)),
            branches={kind: of_kind[0] for kind, of_kind in by_kind.items() if kind not in several},
            lists=lists if "array" in several else (),
            tag=tag,
            objects=tagged,
            holds_many=any(branch.holds_many for branch in branches),
        )


def _told_apart(branches: Sequence[Object]) -> tuple[str, dict[str, Node]]:
    """The property that has one value in each of several objects, and the object of each value; nothing without one."""
    for name in branches[0].properties if branches else ():
        properties = [branch.properties.get(name) for branch in branches]
        tags = [node.only for node in properties if isinstance(node, Scalar) and node.only is not None]
        if len(set(tags)) == len(branches):
            return name, dict(zip(tags, branches, strict=True))
    return "", {}
