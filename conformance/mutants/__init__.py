"""Broken servers, as changes of a good server's answers: the proof that the kit finds what it says it finds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from specserve.conformance.requirements import load as load_requirements
from specserve.spec import document


@dataclass(frozen=True)
class Mutant:
    """A server that is broken in one point.

    Attributes:
        id: Its name, by which requirements name it.
        what: A sentence about it.
        when: Which requests and answers it changes.
        do: What it does to them, in order: each a mapping of one operation to its argument.
    """

    id: str
    what: str
    when: Mapping[str, Any]
    do: tuple[Mapping[str, Any], ...]

    @property
    def killers(self) -> frozenset[str]:
        """The requirements that must find it out."""
        return frozenset(r.id for r in load_requirements().values() if self.id in r.mutants)


@cache
def load() -> dict[str, Mutant]:
    """All mutants by id."""
    return _read("rules.yaml")


@cache
def variations() -> dict[str, Mutant]:
    """Changes that leave a good server as good as it was, by id: no requirement may find anything wrong with them."""
    return _read("variations.yaml")


def _read(name: str) -> dict[str, Mutant]:
    rules = document.installed("specserve.conformance.mutants", name)
    return {name: Mutant(name, row["what"], row["when"] or {}, tuple(row["do"])) for name, row in rules.items()}
