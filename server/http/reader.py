"""Reads a request body along the contract: brings it into the form in which it is handed on, and finds its first fault.

It does what a validator does, but stops at the first fault and builds no error for anything else, so an invalid body
costs no more than a valid one. It goes through a body in Python, item by item: in a thread, it never holds others up
for long, however large the body is.

What it changes, in place, is what the contract says (see spec/README.md): null for a property that is not required is
taken away, so is an empty list where that asks for nothing; a key that an open object does not know is dropped and
named; a property that is filled in gets its default; 1.0 becomes 1 where a whole number is meant.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jsonschema_rs import Draft202012Validator

from specserve.http import violations
from specserve.http.ignored import Ignored

KINDS: dict[type, str] = {
    str: "string",
    bool: "boolean",
    int: "number",
    float: "number",
    list: "array",
    dict: "object",
    type(None): "null",
}
_SLICE = 4096  # numbers or strings that are validated in one go


@dataclass(slots=True)
class Reading:
    """One body's reading.

    Attributes:
        ignored: Takes the names of what is dropped.
        drop_unknown: Whether unknown keys are dropped everywhere, not only in open objects.
        path: Where the reading is; where it stopped, after a fault.
    """

    ignored: Ignored
    drop_unknown: bool = False
    path: list[str | int] = field(default_factory=list)


class Node(ABC):
    """A schema of the contract, compiled.

    Attributes:
        types: The JSON types that it takes, as a message names them.
        holds_many: Whether a value of it can hold many values.
    """

    types: frozenset[str]
    holds_many: bool = True

    @abstractmethod
    def read(self, value: Any, reading: Reading) -> Any:
        """Check a value and settle it in place; gives what shall stand in its place.

        Raises:
            InvalidRequest: The first fault.
        """

    @property
    def kinds(self) -> frozenset[str]:
        """The types as `KINDS` has them: a whole number is a number."""
        return frozenset("number" if name == "integer" else name for name in self.types)


class Scalar(Node):
    """A string, a number or a boolean.

    Args:
        schema: JSON Schema of it.
        types: See `Node`.

    Attributes:
        only: The one value that it can have, if there is one.
    """

    holds_many = False

    def __init__(self, schema: dict[str, Any], types: frozenset[str]) -> None:
        self.types = types
        self._kinds = self.kinds
        self._validator = Draft202012Validator(schema)
        self._several = Draft202012Validator({"type": "array", "items": schema})
        free = {"$schema", "type", "description", "default", "title", "format"}.issuperset(schema) and len(types) == 1
        self._any = {"string": str, "boolean": bool}.get(next(iter(types))) if free else None
        self._whole = types == {"integer"}
        options = schema.get("enum", ())
        self.only = options[0] if len(options) == 1 else None

    def read(self, value: Any, reading: Reading) -> Any:
        """See `Node.read`."""
        if type(value) is self._any:
            return value
        if KINDS[type(value)] not in self._kinds:
            raise violations.wrong_type(reading.path, self.types)
        if not self._validator.is_valid(value):
            raise violations.of_scalar(reading.path, next(iter(self._validator.iter_errors(value))))
        return int(value) if self._whole else value

    def are_settled(self, values: list[Any]) -> bool:
        """Whether all of several are right as they are."""
        return self._several.is_valid(values) and not (self._whole and float in map(type, values))


class Unread(Node):
    """What is handed on as it is: anything, or any object."""

    def __init__(self, types: frozenset[str]) -> None:
        self.types = types
        self._kinds = self.kinds

    def read(self, value: Any, reading: Reading) -> Any:
        """See `Node.read`."""
        if KINDS[type(value)] not in self._kinds:
            raise violations.wrong_type(reading.path, self.types)
        return value


class Opaque(Node):
    """A schema with a keyword that this reader does not know: a validator judges it as a whole, and names no fault."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self.types = frozenset(KINDS.values())
        self._validator = Draft202012Validator(schema)

    def read(self, value: Any, reading: Reading) -> Any:
        """See `Node.read`."""
        if not self._validator.is_valid(value):
            raise violations.invalid(reading.path)
        return value


class Nullable(Node):
    """Null, or what `of` takes."""

    def __init__(self, of: Node) -> None:
        self.of = of
        self.types = of.types | {"null"}
        self.holds_many = of.holds_many

    def read(self, value: Any, reading: Reading) -> Any:
        """See `Node.read`."""
        return None if value is None else self.of.read(value, reading)


class List(Node):
    """An array."""

    types = frozenset({"array"})

    def __init__(self, schema: Mapping[str, Any], items: Node) -> None:
        self._least: int = schema.get("minItems", 0)
        self._most: int | None = schema.get("maxItems")
        self.items = items

    def read(self, value: Any, reading: Reading) -> Any:
        """See `Node.read`."""
        if type(value) is not list:
            raise violations.wrong_type(reading.path, self.types)
        if len(value) < self._least:
            raise violations.over_limit(reading.path, "minItems", self._least)
        if self._most is not None and len(value) > self._most:
            raise violations.over_limit(reading.path, "maxItems", self._most)
        scalar = self.items if isinstance(self.items, Scalar) else None
        for begin in range(0, len(value), _SLICE):
            if scalar is None or not scalar.are_settled(value[begin : begin + _SLICE]):
                self._read_items(value, range(begin, min(begin + _SLICE, len(value))), reading)
        return value

    def _read_items(self, value: list[Any], places: Sequence[int], reading: Reading) -> None:
        read, path = self.items.read, reading.path
        for at in places:
            path.append(at)
            item = value[at]
            settled = read(item, reading)
            if settled is not item:
                value[at] = settled
            path.pop()


class Map(Node):
    """An object whose keys are the client's."""

    types = frozenset({"object"})

    def __init__(self, schema: Mapping[str, Any], values: Node) -> None:
        self._most: int | None = schema.get("maxProperties")
        self._values = values

    def read(self, value: Any, reading: Reading) -> Any:
        """See `Node.read`."""
        if type(value) is not dict:
            raise violations.wrong_type(reading.path, self.types)
        if self._most is not None and len(value) > self._most:
            raise violations.over_limit(reading.path, "maxProperties", self._most)
        read, path = self._values.read, reading.path
        for name, item in value.items():
            path.append(name)
            settled = read(item, reading)
            if settled is not item:
                value[name] = settled  # no new key, so the loop may go on
            path.pop()
        return value


@dataclass
class Object(Node):
    """An object with properties.

    Attributes:
        properties: What may stand in it.
        required: What must.
        one_of: Of these properties exactly one must be given.
        is_open: Whether unknown keys are dropped.
        absent_nulls: Properties whose null says that they are not given.
        absent_lists: Properties whose empty list says so.
        filled: What is given to it where it lacks it.
    """

    properties: Mapping[str, Node]
    required: Sequence[str]
    one_of: Sequence[str]
    is_open: bool
    absent_nulls: frozenset[str]
    absent_lists: frozenset[str]
    filled: Mapping[str, Any]
    types = frozenset({"object"})

    def __post_init__(self) -> None:
        self.holds_many = any(node.holds_many for node in self.properties.values())

    def read(self, value: Any, reading: Reading) -> Any:
        """See `Node.read`."""
        if type(value) is not dict:
            raise violations.wrong_type(reading.path, self.types)
        if not value.keys() <= self.properties.keys():
            self._drop_unknown(value, reading)
        for name in self.absent_nulls & value.keys():
            if value[name] is None:
                del value[name]
        for name in self.absent_lists & value.keys():
            if value[name] == []:
                del value[name]
        for name in self.required:
            if name not in value:
                raise violations.missing([*reading.path, name])
        path = reading.path
        for name, item in value.items():
            path.append(name)
            settled = self.properties[name].read(item, reading)
            if settled is not item:
                value[name] = settled  # no new key, so the loop may go on
            path.pop()
        if self.one_of and (given := sum(name in value for name in self.one_of)) != 1:
            raise violations.not_one_of(self.one_of, several=given > 1)
        for name, default in self.filled.items():
            value.setdefault(name, default)
        return value

    def _drop_unknown(self, value: dict[str, Any], reading: Reading) -> None:
        unknown = [name for name in value if name not in self.properties]
        if not (self.is_open or reading.drop_unknown):
            raise violations.unknown([*reading.path, unknown[0]])
        for name in unknown:
            del value[name]
            reading.ignored.add(violations.format_path([*reading.path, name]) or name)


@dataclass
class Union(Node):
    """One of several schemas, told apart by their types, objects by a property, lists by their first item.

    Attributes:
        branches: JSON type, as in `KINDS` -> the branch that takes it, if it is not one of those below.
        lists: The branches that are lists, if there are several.
        tag: The property that tells the objects apart, if there are several.
        objects: Its value -> the branch.
    """

    types: frozenset[str]
    branches: Mapping[str, Node]
    lists: Sequence[List]
    tag: str
    objects: Mapping[str, Node]
    holds_many: bool

    def read(self, value: Any, reading: Reading) -> Any:
        """See `Node.read`."""
        kind = KINDS[type(value)]
        branch = self.branches.get(kind)
        if branch is None:
            if kind == "object" and self.objects:
                branch = self._tagged(value, reading)
            elif kind == "array" and self.lists:
                branch = self._list(value, reading)
            else:
                raise violations.wrong_type(reading.path, self.types)
        return branch.read(value, reading)

    def _tagged(self, value: dict[str, Any], reading: Reading) -> Node:
        where = [*reading.path, self.tag]
        tag = value.get(self.tag)
        if tag is None:
            raise violations.missing(where)
        if not isinstance(tag, str):
            raise violations.wrong_type(where, ["string"])
        if tag not in self.objects:
            raise violations.no_option(where, sorted(self.objects))
        return self.objects[tag]

    def _list(self, value: list[Any], reading: Reading) -> Node:
        if not value:
            return self.lists[0]
        kind = KINDS[type(value[0])]
        for branch in self.lists:
            if kind in branch.items.kinds:
                return branch
        types = frozenset[str]().union(*(branch.items.types for branch in self.lists))
        raise violations.wrong_type([*reading.path, 0], types)
