"""The checks: for each requirement that no rule and no schema stands for, one small function.

A check looks at one answer, or at several together, and yields what it finds wrong. It sends nothing. Where an answer
says nothing of its requirement, it raises `NothingShown`: what was not seen is no PASS.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache

from specserve.conformance.evidence import Answer, Finding

One = Callable[[Answer], Iterator[Finding]]
Several = Callable[[Mapping[str, Answer]], Iterator[Finding]]


class NothingShown(Exception):
    """Raised by a check whose answer shows neither that the requirement is kept nor that it is broken; says why."""


class Needs(Enum):
    """Which answers a check can read."""

    ANSWERED = "a complete answer with status 200, and JSON or a stream as asked"
    REFUSED = "a complete answer with a client error, as JSON"
    COMPLETE = "a complete answer"
    ANY = "whatever came"


@dataclass(frozen=True)
class Check:
    """A check of one requirement."""

    id: str
    needs: Needs
    one: One | None = None
    several: Several | None = None


_REGISTER: dict[str, Check] = {}


def check(*ids: str, needs: Needs = Needs.ANSWERED) -> Callable[[One], One]:
    """Register a check that looks at one answer at a time."""

    def register(function: One) -> One:
        for identifier in ids:
            _add(Check(identifier, needs, one=function))
        return function

    return register


def check_together(identifier: str, *, needs: Needs = Needs.ANSWERED) -> Callable[[Several], Several]:
    """Register a check that looks at all its answers together, by the exchange's name."""

    def register(function: Several) -> Several:
        _add(Check(identifier, needs, several=function))
        return function

    return register


def _add(new: Check) -> None:
    if new.id in _REGISTER:
        msg = f"{new.id} has two checks"
        raise ValueError(msg)
    _REGISTER[new.id] = new


@cache
def load() -> Mapping[str, Check]:
    """All checks by the id of their requirement."""
    for module in pkgutil.iter_modules(__path__, f"{__name__}."):
        importlib.import_module(module.name)
    return _REGISTER
