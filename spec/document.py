"""Read the contract: its operations, and what it says about each request parameter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from specserve.spec import absent_nulls
from specserve.spec.references import resolve

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")

# libyaml parses the contract about ten times as fast; not every platform's pyyaml has it.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Operation:
    """One method of one path. ``tag`` is its first tag, ``spec`` its description as it stands in the document."""

    operation_id: str
    method: str
    path: str
    tag: str
    spec: dict[str, Any]

    @property
    def extension(self) -> bool:
        """Whether OpenAI does not have it."""
        return bool(self.spec.get("x-specserve-extension", False))

    @property
    def ability(self) -> str | None:
        """What a model must be able to do for it, as a verb (see `backends/abilities.py`); None if no model does it."""
        ability: str | None = self.spec.get("x-specserve-ability")
        return ability


@dataclass(frozen=True)
class Parameter:
    """A property of a request body, and what the contract says about a model that cannot honour it.

    Attributes:
        name: The property's name; of a nested one the last part of it.
        hint: Accepting it changes nothing in the answer, so any value is accepted.
        off: The values that ask for nothing, so that they are accepted too; null asks for nothing wherever
            `absent_null` says so.
        absent_null: Null stands for "not given".
        handled: The server itself gives effect to it, whatever the model.
        extension: OpenAI does not have it.
        schema: Its schema as it stands in the document.
        nested: The properties inside of it, where the contract says something about them.
    """

    name: str
    hint: bool
    off: tuple[Any, ...]
    handled: bool
    absent_null: bool
    extension: bool
    schema: Mapping[str, Any]
    nested: Mapping[str, Parameter]

    def is_off(self, value: object) -> bool:
        """Whether a value asks for nothing. Equality is JSON's: false is not 0, and 1 is 1.0."""
        if value is None:
            return self.absent_null
        return any(_same_json(value, off) for off in self.off)


@dataclass(frozen=True)
class Example:
    """A named example of a body. ``where`` is ``request`` or a status, ``schema`` what the example must conform to."""

    operation_id: str
    where: str
    media_type: str
    name: str
    schema: Mapping[str, Any]
    value: Any

    def __str__(self) -> str:
        return f"{self.operation_id} {self.where} {self.media_type} {self.name}"


def parse(text: str | bytes) -> Any:
    """Parse YAML without constructing anything but plain data."""
    return yaml.load(text, Loader=_LOADER)  # noqa: S506  both loaders are the safe ones


def installed(package: str, name: str) -> Any:
    """What a YAML file says that lies in a package of ours, but for keys that begin with a dot: those hold anchors."""
    data = parse(files(package).joinpath(name).read_bytes())
    return {key: value for key, value in data.items() if not str(key).startswith(".")}


@cache
def load() -> dict[str, Any]:
    """The contract, with what it says once written out everywhere. One document for all callers: do not change it."""
    return absent_nulls.written_out(as_written())


def as_written() -> dict[str, Any]:
    """The contract as it stands in swagger.yaml."""
    document: dict[str, Any] = installed("specserve.spec", "swagger.yaml")
    return document


def operations(document: Mapping[str, Any]) -> Iterator[Operation]:
    """All operations, in the order of the document."""
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                spec = item[method]
                yield Operation(spec["operationId"], method, path, spec["tags"][0], spec)


def examples(document: Mapping[str, Any]) -> Iterator[Example]:
    """All examples of request and response bodies, in the order of the document."""
    for operation in operations(document):
        bodies = {"request": operation.spec.get("requestBody", {}), **operation.spec["responses"]}
        for where, body in bodies.items():
            for media_type, content in resolve(document, body).get("content", {}).items():
                for name, example in content.get("examples", {}).items():
                    yield Example(operation.operation_id, where, media_type, name, content["schema"], example["value"])


def answer_component(document: Mapping[str, Any], operation: Operation, media_type: str) -> str | None:
    """The component that an operation's answers, or the events of its streams, conform to; None if it has none.

    Where there are several, as in events that may carry an error, it is the first.
    """
    success = resolve(document, operation.spec["responses"].get("200", {}))
    schema = success.get("content", {}).get(media_type, {}).get("schema", {})
    branches = [schema, *schema.get("anyOf", ()), *schema.get("oneOf", ())]
    return next((branch["$ref"].rpartition("/")[2] for branch in branches if "$ref" in branch), None)


def request_schema(document: Mapping[str, Any], operation_id: str) -> Mapping[str, Any]:
    """The schema of an operation's JSON body, empty if it takes none.

    Raises:
        KeyError: There is no such operation.
    """
    for operation in operations(document):
        if operation.operation_id == operation_id:
            body = resolve(document, operation.spec.get("requestBody", {}))
            media: Mapping[str, Any] = body.get("content", {}).get("application/json", {})
            return resolve(document, media.get("schema", {}))
    raise KeyError(operation_id)


def parameters(document: Mapping[str, Any], operation_id: str) -> dict[str, Parameter]:
    """The top-level properties of an operation's JSON body, by name.

    Raises:
        KeyError: There is no such operation.
    """
    return _parameters(document, request_schema(document, operation_id))


def _parameters(document: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Parameter]:
    return {name: _parameter(document, name, node) for name, node in schema.get("properties", {}).items()}


def _parameter(document: Mapping[str, Any], name: str, node: Mapping[str, Any]) -> Parameter:
    whole = node["allOf"][0] if len(node.get("allOf", ())) == 1 else node
    nested = _parameters(document, resolve(document, whole))
    return Parameter(
        name=name,
        hint=bool(node.get("x-specserve-hint", False)),
        off=tuple(node.get("x-specserve-off", ())),
        handled=bool(node.get("x-specserve-handled", False)),
        absent_null=node.get(absent_nulls.KEY) == absent_nulls.ABSENT,
        extension=bool(node.get("x-specserve-extension", False)),
        schema=node,
        nested={key: inner for key, inner in nested.items() if inner.hint or inner.off or inner.nested},
    )


def _same_json(a: object, b: object) -> bool:
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(_same_json(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_same_json, a, b))
    return a == b
