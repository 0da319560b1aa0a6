"""From a breach of the contract to the one sentence and the `param` that a developer needs. Never echoes the input."""

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


def format_path(path: Path) -> str | None:
    """``["messages", 0, "content"]`` as ``messages[0].content``; None for the body itself."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part[:_LONGEST_NAME]}"
    return text.removeprefix(".") or None


def unknown(path: Path) -> InvalidRequest:
    """The contract has no such property."""
    param = format_path(path)
    return UnknownParameter(f"Unknown parameter: '{param}'.", param=param)


def missing(path: Path) -> InvalidRequest:
    """A required property is absent."""
    param = format_path(path)
    return MissingParameter(f"Missing required parameter: '{param}'.", param=param)


def wrong_type(path: Path, types: Iterable[str]) -> InvalidRequest:
    """A value has another JSON type than one of `types`."""
    # Null is said nowhere: it stands for "not given".
    expected = " or ".join(sorted({name for name in types if name != "null"}))
    return InvalidType(f"Invalid type for {_name(path)}: expected {expected}.", param=format_path(path))


def no_option(path: Path, options: Iterable[object]) -> InvalidRequest:
    """A value is none of those that there are."""
    known = [str(option) for option in options if option is not None]
    listed = f" Supported values are: {', '.join(known)}." if 0 < len(known) <= _MOST_OPTIONS else ""
    return InvalidValue(f"Invalid value for {_name(path)}.{listed}", param=format_path(path))


def over_limit(path: Path, keyword: str, limit: object) -> InvalidRequest:
    """A value breaks a limit; `keyword` is JSON Schema's name of it."""
    must = _LIMITS[keyword].format(limit)
    return InvalidValue(f"Invalid value for {_name(path)}: it must {must}.", param=format_path(path))


def invalid(path: Path) -> InvalidRequest:
    """A value is wrong in a way that takes more than a sentence."""
    return InvalidValue(f"Invalid value for {_name(path)}.", param=format_path(path))


def not_one_of(names: Sequence[str], *, several: bool) -> InvalidRequest:
    """A request has not exactly one of some parameters, of which the first is the usual one."""
    if several:
        return InvalidValue(f"Give either {' or '.join(map(repr, names))}, not both.", param=names[-1])
    return missing([names[0]])


def of_scalar(path: Path, error: ValidationError) -> InvalidRequest:
    """What a validator says about one number, string or boolean."""
    kind: Any = error.kind  # each kind has attributes of its own, which the library's types do not tell
    match kind.name:
        case "type":
            return wrong_type(path, kind.types)
        case "enum":
            return no_option(path, kind.options)
        case limit if limit in _LIMITS:
            return over_limit(path, limit, kind.value)
        case _:
            return invalid(path)


def _name(path: Path) -> str:
    param = format_path(path)
    return f"'{param}'" if param else "the request body"
