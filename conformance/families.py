"""The families of requirements: one for each file in `requirements/`, with the requests of the same name beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

from specserve.spec import document

CORE = "core"
_REQUIREMENTS, _EXCHANGES = "specserve.conformance.requirements", "specserve.conformance.exchanges"


@dataclass(frozen=True)
class Family:
    """One file of requirements.

    Attributes:
        name: That of the file.
        place: Where it stands among the others, in reports and on the page of requirements; lower comes first.
        profile: What a target must declare for it.
        operation: The operation that it is about, unless a requirement says otherwise.
        by_name: Whether `all` leaves its profile out, so that it must be declared by name.
        defaults: What holds for each of its requirements that does not say otherwise.
        requirements: The requirements by their ids.
        exchanges: The requests in the file of the same name, by their names; none if there is no such file.
    """

    name: str
    place: int
    profile: str
    operation: str | None
    by_name: bool
    defaults: Mapping[str, Any] = field(repr=False)
    requirements: Mapping[str, Any] = field(repr=False)
    exchanges: Mapping[str, Any] = field(repr=False)


@cache
def load() -> Mapping[str, Family]:
    """All families by name, in the order of their places."""
    found = sorted(map(_family, _names(_REQUIREMENTS)), key=lambda family: (family.place, family.name))
    lost = _names(_EXCHANGES) - {family.name for family in found}
    if lost:
        msg = f"requests without requirements: {', '.join(sorted(lost))}"
        raise ValueError(msg)
    return {family.name: family for family in found}


def profiles(*, by_name: bool = True) -> tuple[str, ...]:
    """All profiles, ``core`` first; without those that must be declared by name, if that is asked for."""
    chosen = [family.profile for family in load().values() if by_name or not family.by_name]
    return tuple(dict.fromkeys((CORE, *chosen)))


def profile_of(operation: str) -> str:
    """The profile that an operation belongs to: of the first family about it, which is ``core`` for most."""
    return next((family.profile for family in load().values() if family.operation == operation), CORE)


def _names(package: str) -> set[str]:
    return {path.name.removesuffix(".yaml") for path in files(package).iterdir() if path.name.endswith(".yaml")}


def _family(name: str) -> Family:
    data = document.installed(_REQUIREMENTS, f"{name}.yaml")
    defaults = data.get("defaults", {})
    return Family(
        name=name,
        place=data["place"],
        profile=defaults.get("profile", CORE),
        operation=defaults.get("operation"),
        by_name=bool(data.get("by-name", False)),
        defaults=defaults,
        requirements=data["requirements"],
        exchanges=document.installed(_EXCHANGES, f"{name}.yaml") if name in _names(_EXCHANGES) else {},
    )
