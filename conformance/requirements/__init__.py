"""What a server must, should and may do, as data: one YAML file for each family."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

from specserve.conformance import families
from specserve.conformance.exchanges import Exchange
from specserve.conformance.exchanges import load as load_exchanges
from specserve.spec import document
from specserve.spec.references import resolve

_COMPONENTS = "#/components/schemas/"


class Level(StrEnum):
    """How much a requirement binds, as RFC 2119 says."""

    MUST = "MUST"
    SHOULD = "SHOULD"
    MAY = "MAY"


@dataclass(frozen=True)
class SchemaPart:
    """A part of a schema of the contract.

    Attributes:
        of: The component.
        at: Places in the answer, as patterns of JSON pointers; none means all that no other requirement names.
    """

    of: str
    at: tuple[str, ...]


@dataclass(frozen=True)
class Deviation:
    """Where a known server differs from the requirement, and how that is known."""

    server: str
    what: str
    evidence: str


@dataclass(frozen=True)
class Requirement:
    """One requirement.

    Attributes:
        id: Stable; never given to something else.
        text: One sentence in the words of RFC 2119.
        level: The word that the sentence holds.
        family: The file that it stands in.
        profile: Judged only if the target declares it.
        operation: The operationId that it is about, if it is about one.
        pointer: Into ``swagger.yaml`` (``#/...``), or the address of the section of an RFC or WHATWG standard.
        uses: Exchanges that are sent for it.
        also: Patterns of exchanges that it is judged on as well, if they are sent.
        determinism: ``protocol`` (any model), ``forced`` (the protocol forces the model) or ``sampled``.
        sdk: Official clients need it, so that it counts in the *sdk* verdict.
        rule: A check that several requirements share: ``answered``, ``refused`` (any client error) or ``status``
            (those that the exchange expects).
        schema: The part of a schema that it stands for; then no check needs to be written.
        mutants: The broken servers that it must find out.
        known: Known deviations, of OpenAI itself as well.
    """

    id: str
    text: str
    level: Level
    family: str
    profile: str
    operation: str | None
    pointer: str
    uses: tuple[str, ...]
    also: tuple[str, ...]
    determinism: str
    sdk: bool
    rule: str | None
    schema: SchemaPart | None
    mutants: tuple[str, ...]
    known: tuple[Deviation, ...]

    def judges(self, exchange: str) -> bool:
        """Whether it looks at an exchange."""
        return exchange in self.uses or any(fnmatchcase(exchange, pattern) for pattern in self.also)

    def cost(self, exchanges: Mapping[str, Exchange]) -> str:
        """The dearest category among what it sends."""
        order = ("free", "cheap", "costly")
        return max((exchanges[name].category for name in self.uses), key=order.index, default="free")


@cache
def load() -> dict[str, Requirement]:
    """All requirements by id, in the order of the families."""
    found: dict[str, Requirement] = {}
    for family in families.load().values():
        for identifier, row in family.requirements.items():
            if identifier in found:
                msg = f"{identifier} stands twice"
                raise ValueError(msg)
            found[identifier] = _requirement(family.name, identifier, {**family.defaults, **row})
    return found


def select(
    requirements: Iterable[Requirement], *, only: Iterable[str] = (), level: Level = Level.MAY
) -> list[Requirement]:
    """Those whose id matches one of the patterns and that bind at least as much as the level says."""
    order = list(Level)
    patterns = tuple(only) or ("*",)
    return [
        requirement
        for requirement in requirements
        if order.index(requirement.level) <= order.index(level)
        and any(fnmatchcase(requirement.id, pattern) for pattern in patterns)
    ]


def _requirement(family: str, identifier: str, row: Mapping[str, Any]) -> Requirement:
    words = re.findall(r"\b(MUST|SHOULD|MAY)\b", row["text"])
    if len(words) != 1:
        msg = f"{identifier}: the sentence needs exactly one of MUST, SHOULD and MAY"
        raise ValueError(msg)
    schema = SchemaPart(row["schema"]["of"], tuple(row["schema"].get("at", ()))) if "schema" in row else None
    exchanges = load_exchanges()
    uses = tuple(row["uses"])
    for name in uses:
        if name not in exchanges:
            msg = f"{identifier}: there is no exchange {name}"
            raise ValueError(msg)
    return Requirement(
        id=identifier,
        text=row["text"],
        level=Level(words[0]),
        family=family,
        profile=row.get("profile", "core"),
        operation=row.get("operation"),
        pointer=row.get("pointer") or _pointer(schema, identifier),
        uses=uses,
        also=tuple(row.get("also", ())),
        determinism=row.get("determinism", "protocol"),
        sdk=bool(row.get("sdk", False)),
        rule=row.get("rule"),
        schema=schema,
        mutants=tuple(row.get("mutants", ())),
        known=tuple(Deviation(**entry) for entry in row.get("known", ())),
    )


def _pointer(schema: SchemaPart | None, identifier: str) -> str:
    """Where the part of the schema stands in the contract."""
    if schema is None:
        msg = f"{identifier}: needs a pointer"
        raise ValueError(msg)
    pointer = _COMPONENTS + schema.of
    place = schema.at[0].strip("/").split("/") if schema.at else []
    contract = document.load()
    for step in place:
        node = find(pointer)
        while "allOf" in node and len(node["allOf"]) == 1:
            node = node["allOf"][0]
        while "$ref" in node:
            pointer = node["$ref"]
            node = resolve(contract, node)
        pointer += "/items" if step == "*" else f"/properties/{step}"
    find(pointer)
    return pointer


def find(pointer: str) -> Any:
    """What a pointer (``#/a/b``) leads to in the contract.

    Raises:
        KeyError: Nothing.
    """
    node: Any = document.load()
    for part in pointer.removeprefix("#/").split("/"):
        key = part.replace("~1", "/").replace("~0", "~")
        node = node[int(key)] if isinstance(node, list) else node[key]
    return node
