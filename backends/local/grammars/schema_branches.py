"""Tells whether the branches of a `oneOf` are plainly apart: then it is an `anyOf`, which a grammar can say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from specserve.backends.local.grammars.schema_reading import (
    MOST_LISTED,
    TYPES,
    Place,
    Schema,
    SchemaReader,
    TooComplexSchema,
    has_type,
    key_of,
    types_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence


def check_apart(branches: Sequence[Any], reader: SchemaReader, place: Place, via: tuple[str, ...]) -> None:
    """See that no value conforms to two of these schemas.

    Raises:
        UnsupportedValue: That is not plain.
    """
    flats = [reader.flat(branch, place / "oneOf" / at, via) for at, branch in enumerate(branches)]
    known = [flat for flat in flats if flat is not None]
    if sum(len(listed(flat) or ()) for flat in known) > MOST_LISTED:
        raise TooComplexSchema(place / "oneOf", f"lists more than {MOST_LISTED} values")
    for at, first in enumerate(known):
        for second in known[:at]:
            if not _apart(first, second, reader, place):
                raise place.unsupported(
                    "oneOf", "its branches must differ in type or in a required constant; use 'anyOf'"
                )


def listed(flat: Schema) -> list[Any] | None:
    """The values that a schema lists, if it does."""
    return [flat["const"]] if "const" in flat else flat.get("enum")


def types_in(values: Sequence[Any]) -> frozenset[str]:
    """The types of some values; integers are numbers."""
    names = [name for name in TYPES if name != "integer"]
    return frozenset(name for name in names for value in values if has_type(value, frozenset({name})))


def _apart(first: Schema, second: Schema, reader: SchemaReader, place: Place) -> bool:
    if _kinds(first).isdisjoint(_kinds(second)) or _differ(listed(first), listed(second)):
        return True
    if _kinds(first) != {"object"} or _kinds(second) != {"object"}:
        return False
    required = {*first.get("required", ()), *second.get("required", ())}
    for name in first.get("properties", {}).keys() & second.get("properties", {}).keys() & required:
        flats = [reader.flat(branch["properties"][name], place / "oneOf") for branch in (first, second)]
        mine, other = (None if flat is None else listed(flat) for flat in flats)
        if _differ(mine, other):
            return True
    return False


def _differ(first: list[Any] | None, second: list[Any] | None) -> bool:
    if first is None or second is None:
        return False
    return {key_of(value) for value in first}.isdisjoint(map(key_of, second))


def _kinds(flat: Schema) -> frozenset[str]:
    """The types that a flat schema can have, told by its own `type` or values."""
    values = listed(flat)
    if values is not None:
        return types_in(values)
    if "type" not in flat:
        return frozenset(TYPES)
    return frozenset("number" if name == "integer" else name for name in types_of(flat["type"]))
