"""Reads JSON Schemas: which keywords are known, what they may hold, where references lead, what `allOf` comes to."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from math import isfinite
from typing import Any
from urllib.parse import unquote

from specserve.backends.local.grammars.formats import FORMATS
from specserve.spec.errors import InvalidRequest, UnsupportedValue

TYPES = ("object", "array", "string", "integer", "number", "boolean", "null")

STRING = ("minLength", "maxLength", "pattern", "format")
NUMBER = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
ARRAY = ("items", "prefixItems", "additionalItems", "minItems", "maxItems", "uniqueItems")
OBJECT = (
    "properties",
    "required",
    "additionalProperties",
    "minProperties",
    "maxProperties",
    "patternProperties",
    "propertyNames",
)
ENFORCED = frozenset(
    {"type", "enum", "const", "anyOf", "oneOf", "allOf", "$ref", *STRING, *NUMBER, *ARRAY, *OBJECT},
)
"""In effect, each as far as its place in `json_schema.py` says; beyond that it is refused."""

SILENT = frozenset(
    {
        "$schema",
        "$comment",
        "$defs",
        "definitions",
        "title",
        "description",
        "default",
        "examples",
        "example",
        "deprecated",
        "readOnly",
        "writeOnly",
        "contentMediaType",
        "contentEncoding",
        "contentSchema",
        "nullable",  # of OpenAPI 3.0; a null is never needed to conform
        "$anchor",
        "$dynamicAnchor",
        "$recursiveAnchor",
        "$vocabulary",
        "discriminator",  # what pydantic writes beside a `oneOf` that says the same
        "strict",  # which Home Assistant writes inside of its schemas too
    }
)
"""Say nothing about what is valid."""

REFUSED = frozenset(
    {
        "$dynamicRef",
        "$id",
        "$recursiveRef",
        "contains",
        "dependencies",
        "dependentRequired",
        "dependentSchemas",
        "else",
        "if",
        "maxContains",
        "minContains",
        "not",
        "then",
        "unevaluatedItems",
        "unevaluatedProperties",
    }
)
"""Known, and not enforced: a schema that has one is refused by its name. So is a strict one with an unknown keyword."""

_COUNTS = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")
_LOWER = ("minLength", "minItems", "minProperties", "minimum", "exclusiveMinimum")
_UPPER = ("maxLength", "maxItems", "maxProperties", "maximum", "exclusiveMaximum")
_SCHEMAS = ("items", "additionalProperties", "additionalItems", "propertyNames")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_MAPS = ("properties", "patternProperties")
_MANY = ("enum", "required", *_LISTS, *_MAPS)

MOST_COUNTED = 10_000
"""Characters, items or members that a schema may ask for."""

MOST_LISTED = 1000
"""Values, names or schemas under one keyword. Each may have to be held against each of another keyword's."""

_DEEPEST = 48
_MOST_SCHEMAS = 2000
_MOST_COMPARED = 500_000  # pairs of listed values, and members that are merged
_LONGEST_PATH = 200

Schema = Mapping[str, Any]


class Place:
    """Where in the request a schema stands.

    Args:
        param: The request parameter that is the schema.
        path: Keys and indexes below that.
    """

    def __init__(self, param: str, path: tuple[str | int, ...] = ()) -> None:
        self._param = param
        self._path = path

    def __truediv__(self, part: str | int) -> Place:
        return Place(self._param, (*self._path, part))

    @property
    def depth(self) -> int:
        """How far below the root."""
        return len(self._path)

    def __str__(self) -> str:
        text = self._param + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in self._path)
        return text[:_LONGEST_PATH]

    def unsupported(self, keyword: str, why: str) -> UnsupportedValue:
        """The error for a keyword that is not enforced here."""
        return UnsupportedValue(f"The schema's '{keyword}' is not supported: {why}.", param=str(self / keyword))

    def invalid(self, keyword: str, why: str) -> InvalidRequest:
        """The error for a keyword with a value that it cannot have."""
        return InvalidRequest(f"The schema's '{keyword}' {why}.", param=str(self / keyword))

    def impossible(self) -> InvalidRequest:
        """The error for a schema that no value conforms to."""
        return InvalidRequest("No finite value conforms to this schema.", param=str(self))


class TooComplexSchema(UnsupportedValue):
    """To hold an answer to this schema would take too much time or memory.

    Args:
        place: Where that was found.
        why: What follows `The schema`.
    """

    def __init__(self, place: Place | str, why: str = "is too complex") -> None:
        super().__init__(f"The schema {why}.", param=str(place))


class SchemaReader:
    """Reads the schemas of one document.

    Args:
        root: The whole document, where references begin.
        strict: Whether a keyword that is not known is refused; else it is an annotation, as JSON Schema has it.
    """

    def __init__(self, root: Any, *, strict: bool = True) -> None:
        self._root = root
        self._strict = strict
        self._read = 0
        self._merged = 0

    def flat(self, schema: Any, place: Place, via: tuple[str, ...] = ()) -> dict[str, Any] | None:
        """The schema without `$ref` and `allOf`, its keywords checked; None if it is false.

        Raises:
            UnsupportedValue: It has a keyword that is not enforced.
            InvalidRequest: A keyword holds what it cannot.
        """
        if isinstance(schema, bool):
            return {} if schema else None
        self._check(schema, place)
        if "not" in schema and schema["not"] is not False:
            return None
        found: dict[str, Any] | None = {key: value for key, value in schema.items() if key in ENFORCED}
        if "$ref" in schema:
            pointer = schema["$ref"]
            if pointer in via:
                raise place.invalid("$ref", "leads back to itself")
            del found["$ref"]  # type: ignore[union-attr] # a dict so far
            target = self.flat(self.target(pointer, place), place, (*via, pointer))
            found = self._both(target, found, place)
        for at, part in enumerate(schema.get("allOf", ())):
            if found is not None:
                found.pop("allOf", None)
            found = self._both(found, self.flat(part, place / "allOf" / at, via), place)
        return found

    def _both(self, first: dict[str, Any] | None, second: dict[str, Any] | None, place: Place) -> dict[str, Any] | None:
        for flat in (first, second):
            self._merged += sum(len(flat[name]) for name in _MANY if name in flat) if flat else 0
        if self._merged > _MOST_COMPARED:
            raise TooComplexSchema(place)
        return _merged(first, second, place)

    def target(self, pointer: str, place: Place) -> Any:
        """What a reference within the document leads to.

        Raises:
            InvalidRequest: It leads nowhere, or out of the document.
        """
        if pointer != "#" and not pointer.startswith("#/"):
            raise place.unsupported("$ref", "only references within the schema are followed")
        node = self._root
        for part in pointer.split("/")[1:]:
            key = unquote(part).replace("~1", "/").replace("~0", "~")
            if isinstance(node, Mapping) and key in node:
                node = node[key]
            elif isinstance(node, list) and key.isdecimal() and int(key) < len(node):
                node = node[int(key)]
            else:
                raise place.invalid("$ref", "leads nowhere")
        return node

    def _check(self, schema: Any, place: Place) -> None:
        if not isinstance(schema, Mapping):
            raise InvalidRequest("A schema must be an object or a boolean.", param=str(place))
        self._read += 1
        if self._read > _MOST_SCHEMAS or place.depth > 2 * _DEEPEST:
            raise TooComplexSchema(place, "is too large, or nested too deeply")
        for name, value in schema.items():
            if name == "$id" and not place.depth:
                continue
            if name == "not" and (isinstance(value, bool) or value == {}):
                continue  # see `flat`
            if name in REFUSED and (self._strict or name != "$id"):
                raise place.unsupported(name, "it cannot be enforced")
            if self._strict and name not in ENFORCED | SILENT and not name.startswith("x-"):
                raise UnsupportedValue("The schema has an unknown keyword.", param=str(place / name))
            why = _wrong(name, value)
            if why:
                raise place.invalid(name, why)
            if name in _MANY and len(value) > MOST_LISTED:
                raise place.unsupported(name, f"it lists more than {MOST_LISTED}")


def _wrong(name: str, value: Any) -> str | None:
    """What is wrong with a keyword's value, if anything."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if name == "type":
        names = value if isinstance(value, list) else [value]
        good = bool(names) and all(isinstance(each, str) and each in TYPES for each in names)
        return None if good else "is no type of JSON"
    if name in _COUNTS:
        good = number and isfinite(value) and value >= 0 and value == int(value)
        return None if good else "must be a natural number"
    if name in NUMBER:
        good = number and isfinite(value) and not (name == "multipleOf" and value <= 0)
        return None if good else "must be a number, positive if multiples are asked for"
    if name in {"pattern", "format", "$ref"}:
        return None if isinstance(value, str) else "must be a string"
    if name == "uniqueItems":
        return None if isinstance(value, bool) else "must be a boolean"
    if name == "required":
        return None if isinstance(value, list) and all(isinstance(each, str) for each in value) else "must list names"
    if name in _MAPS:
        return None if isinstance(value, Mapping) else "must be an object"
    if name == "enum" or name in _LISTS:
        return None if isinstance(value, list) and value else "must be a list that is not empty"
    return None


def _merged(first: dict[str, Any] | None, second: dict[str, Any] | None, place: Place) -> dict[str, Any] | None:
    """What both of two flat schemas demand; None if nothing can be both."""
    if first is None or second is None:
        return None
    _check_closed(first, second, place)
    _check_closed(second, first, place)
    merged = {**first, **second}
    for name in first.keys() & second.keys():
        mine, other = first[name], second[name]
        if same(mine, other):
            continue
        if name == "required":
            merged[name] = list(dict.fromkeys([*mine, *other]))
        elif name == "properties":
            merged[name] = {
                **mine,
                **other,
                **{key: {"allOf": [mine[key], other[key]]} for key in mine if key in other},
            }
        elif name in _SCHEMAS and not isinstance(mine, list) and not isinstance(other, list):
            merged[name] = {"allOf": [mine, other]}
        elif name in _LOWER:
            merged[name] = max(mine, other)
        elif name in _UPPER:
            merged[name] = min(mine, other)
        elif name == "type":
            merged[name] = list(_common_types(mine, other))
        elif name == "enum":
            known = {key_of(value) for value in other}
            merged[name] = [value for value in mine if key_of(value) in known]
        elif name == "pattern":
            merged[name] = _listed_patterns(mine) + _listed_patterns(other)
        elif name == "format":
            merged[name] = mine if mine in FORMATS else other
        elif name == "uniqueItems":
            merged[name] = True
        elif name == "const":
            return None
        else:
            raise place.unsupported(name, "it stands in several places that all apply")
        if merged[name] == []:
            return None
    return merged


def _listed_patterns(given: str | tuple[str, ...]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else given


def _check_closed(closed: Schema, other: Schema, place: Place) -> None:
    """A schema that limits the members beside its own also limits those that another schema brings in."""
    limits = closed.get("additionalProperties", True)
    names = set(closed.get("properties", ()))
    brought = set(other.get("properties", ())) - names
    if limits not in (True, {}) and brought:
        raise place.unsupported("additionalProperties", "other parts of the schema add properties")
    if "patternProperties" in closed and ("properties" in other or "patternProperties" in other):
        raise place.unsupported("patternProperties", "other parts of the schema add properties")
    if "prefixItems" in closed and ("items" in other or "prefixItems" in other) and closed is not other:
        raise place.unsupported("prefixItems", "other parts of the schema add items")


def _common_types(first: Any, second: Any) -> Iterator[str]:
    mine, other = types_of(first), types_of(second)
    for name in TYPES:
        wider = "number" if name == "integer" else name
        if (name in mine and (name in other or wider in other)) or (name in other and wider in mine):
            yield name


def types_of(value: Any) -> frozenset[str]:
    """The names in a `type`."""
    return frozenset(value if isinstance(value, list) else [value])


def same(first: Any, second: Any) -> bool:
    """Whether two values are the same JSON: 1 is 1.0, true is not 1."""
    if isinstance(first, bool) or isinstance(second, bool):
        return first is second
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(map(same, first, second))
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    return bool(first == second)


def key_of(value: Any) -> Hashable:
    """The same for values that are the same JSON, as `same` has it."""
    if isinstance(value, bool) or value is None:
        return str(value), None
    if isinstance(value, list):
        return "list", tuple(map(key_of, value))
    if isinstance(value, Mapping):
        return "object", frozenset((name, key_of(item)) for name, item in value.items())
    return value  # type: ignore[no-any-return] # a text or a number


def has_type(value: Any, types: frozenset[str]) -> bool:
    """Whether a value is of one of these types."""
    match value:
        case bool():
            return "boolean" in types
        case None:
            return "null" in types
        case str():
            return "string" in types
        case list():
            return "array" in types
        case Mapping():
            return "object" in types
    return "number" in types or ("integer" in types and value == int(value))
