"""From a JSON Schema violation to the one sentence and the `param` that a developer needs. Never echoes the input."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from jsonschema_rs import ValidationError

from specserve.spec.errors import InvalidRequest, InvalidType, InvalidValue, MissingParameter, UnknownParameter

Path = Sequence[str | int]

_LIMITS = {
    "minimum": "be at least {}",
    "maximum": "be at most {}",
    "exclusiveMinimum": "be greater than {}",
    "exclusiveMaximum": "be less than {}",
    "minItems": "have {} or more items",
    "maxItems": "have {} or fewer items",
    "minLength": "have {} or more characters",
    "maxLength": "have {} or fewer characters",
    "minProperties": "have {} or more properties",
    "maxProperties": "have {} or fewer properties",
    "multipleOf": "be a multiple of {}",
}
_MOST_OPTIONS = 12  # options named in a message
_LONGEST_NAME = 64  # characters of a client's own key that a message or `param` may repeat


def explain(errors: Iterable[ValidationError], one_of: Sequence[str] = ()) -> InvalidRequest:
    """Make the error response of a body's violations; the most telling one speaks.

    Args:
        errors: All violations, at least one.
        one_of: Parameters of which the body must have exactly one (`x-specserve-one-of`); the first is the usual one.
    """
    leaf = max((leaf for error in errors for leaf in _leaves(error)), key=_weight)
    if one_of and leaf.kind.name == "oneOf" and not leaf.instance_path:
        if [] in _kind(leaf).context:
            return InvalidValue(f"Give either {' or '.join(map(repr, one_of))}, not both.", param=one_of[-1])
        return MissingParameter(f"Missing required parameter: {one_of[0]!r}.", param=one_of[0])
    return _describe(leaf)


def unknown_keys(errors: Iterable[ValidationError]) -> list[tuple[Path, str]]:
    """Every property that the contract does not know, as (path of its object, name)."""
    return [
        (leaf.instance_path, name)
        for error in errors
        for leaf in _leaves(error)
        if leaf.kind.name == "additionalProperties"
        for name in _kind(leaf).unexpected
    ]


def format_path(path: Path) -> str | None:
    """``["messages", 0, "content"]`` as ``messages[0].content``; None for the body itself."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part[:_LONGEST_NAME]}"
    return text.removeprefix(".") or None


def _leaves(error: ValidationError) -> list[ValidationError]:
    """Follow a failed anyOf or oneOf into the branch that the client most likely meant."""
    if error.kind.name not in {"anyOf", "oneOf"} or not getattr(error.kind, "context", None):
        return [error]
    here = len(error.instance_path)
    branches: list[list[ValidationError]] = _kind(error).context
    right_type = [b for b in branches if not any(e.kind.name == "type" and len(e.instance_path) == here for e in b)]
    if not right_type or [] in branches:  # an empty branch matched: too many did
        return [error]
    # A wrong `role` or `type` right below means another kind of object was meant.
    meant = [b for b in right_type if not any(_is_tag(e, here) for e in b)]
    if not meant:
        tags = [e for b in right_type for e in b if _is_tag(e, here)]
        return [tags[0]] if len(right_type) == 1 else [error]
    best = min(meant, key=len)
    return [leaf for e in best for leaf in _leaves(e)]


def _kind(error: ValidationError) -> Any:
    """What was violated; each kind has attributes of its own, which the library's types do not tell."""
    return error.kind


def _is_tag(error: ValidationError, depth: int) -> bool:
    path = error.instance_path
    return error.kind.name in {"enum", "const"} and len(path) == depth + 1 and path[-1] in {"role", "type"}


def _weight(error: ValidationError) -> tuple[bool, int]:
    """An unknown parameter explains other violations (a misspelt name), so it speaks first; then the deepest."""
    return error.kind.name == "additionalProperties", len(error.instance_path)


def _describe(error: ValidationError) -> InvalidRequest:
    kind, path = _kind(error), error.instance_path
    param = format_path(path)
    name = f"'{param}'" if param else "the request body"
    match kind.name:
        case "additionalProperties":
            unknown = format_path([*path, kind.unexpected[0]])
            return UnknownParameter(f"Unknown parameter: '{unknown}'.", param=unknown)
        case "required":
            missing = format_path([*path, kind.property])
            return MissingParameter(f"Missing required parameter: '{missing}'.", param=missing)
        case "type":
            return InvalidType(f"Invalid type for {name}: expected {_join(kind.types)}.", param=param)
        case "enum" | "const":
            return InvalidValue(f"Invalid value for {name}.{_options(kind)}", param=param)
        case "anyOf" | "oneOf" if getattr(kind, "context", None):
            return _describe_union(error, name)
        case limit if limit in _LIMITS:
            return InvalidValue(f"Invalid value for {name}: it must {_LIMITS[limit].format(kind.value)}.", param=param)
        case _:
            return InvalidValue(f"Invalid value for {name}.", param=param)


def _describe_union(error: ValidationError, name: str) -> InvalidRequest:
    """Say which types, tags or alternatives a union would have taken."""
    here = len(error.instance_path)
    param = format_path(error.instance_path)
    branches = _kind(error).context
    if [] in branches:
        return InvalidValue(f"Invalid value for {name}: it mixes alternatives that exclude each other.", param=param)
    flat = [e for branch in branches for e in branch]
    if all(any(e.kind.name == "type" and len(e.instance_path) == here for e in b) for b in branches):
        types = {t for e in flat if e.kind.name == "type" and len(e.instance_path) == here for t in _kind(e).types}
        return InvalidType(f"Invalid type for {name}: expected {_join(types)}.", param=param)
    tags = [e for e in flat if _is_tag(e, here)]
    if tags:
        known = sorted({str(option) for e in tags for option in _allowed(_kind(e))})
        tag = format_path(tags[0].instance_path)
        return InvalidValue(f"Invalid value for '{tag}'. Supported values are: {', '.join(known)}.", param=tag)
    return InvalidValue(f"Invalid value for {name}.", param=param)


def _allowed(kind: Any) -> Sequence[object]:
    return kind.options if kind.name == "enum" else [kind.expected_value]


def _options(kind: Any) -> str:
    options = [str(option) for option in _allowed(kind) if option is not None]
    return f" Supported values are: {', '.join(options)}." if 0 < len(options) <= _MOST_OPTIONS else ""


def _join(types: Iterable[str]) -> str:
    return " or ".join(sorted(types))
