"""What can be said of a requirement, of a run, and the exit code that tells it."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum, StrEnum


class Status(StrEnum):
    """What was found out about one requirement."""

    PASS = "PASS"  # noqa: S105  not a password
    SKIP = "SKIP"
    UNSUPPORTED = "UNSUPPORTED"
    NOT_RUN = "NOT_RUN"
    INCONCLUSIVE = "INCONCLUSIVE"
    WARN = "WARN"
    SILENT = "SILENT"
    FAIL = "FAIL"
    ERROR = "ERROR"


MEANING = {
    Status.PASS: "The server does what the requirement says.",
    Status.FAIL: "The server breaks a MUST.",
    Status.SILENT: "The server accepted the request and ignored what it asked for. Counts as FAIL, shown apart.",
    Status.WARN: "The server breaks a SHOULD. It stays conformant.",
    Status.UNSUPPORTED: "The server refused honestly: a client error instead of a wrong answer.",
    Status.INCONCLUSIVE: "Nothing can be said: a limit (429), an infrastructure error (502-504), a timeout.",
    Status.SKIP: "Not asked: the profile is not declared, or the request is not allowed.",
    Status.NOT_RUN: "Not asked: the budget was spent, or a filter left it out.",
    Status.ERROR: "The kit itself failed. Never the server's fault.",
}

# A server is conformant when none of these stands in its declared profiles.
BLOCKING = frozenset({Status.FAIL, Status.SILENT, Status.ERROR, Status.INCONCLUSIVE, Status.NOT_RUN})

# The later wins where one requirement was judged on several exchanges.
_GRAVITY = list(Status)


def worst(statuses: Iterable[Status]) -> Status:
    """The gravest of several; an honest refusal says nothing beside an answer that could be judged."""
    found = set(statuses)
    if found & {Status.PASS, Status.WARN, Status.SILENT, Status.FAIL}:
        found.discard(Status.UNSUPPORTED)
    return max(found, key=_GRAVITY.index, default=Status.NOT_RUN)


class Exit(IntEnum):
    """Exit codes of ``specserve conform``."""

    CONFORMANT = 0
    NOT_CONFORMANT = 1
    USAGE = 2
    INCONCLUSIVE = 3
    KIT_ERROR = 4


def exit_code(statuses: Iterable[Status]) -> Exit:
    """What a run ends with."""
    found = set(statuses)
    if Status.ERROR in found:
        return Exit.KIT_ERROR
    if found & {Status.FAIL, Status.SILENT}:
        return Exit.NOT_CONFORMANT
    if found & {Status.INCONCLUSIVE, Status.NOT_RUN} or not found & {Status.PASS, Status.WARN, Status.UNSUPPORTED}:
        return Exit.INCONCLUSIVE
    return Exit.CONFORMANT


def verdict(statuses: Iterable[Status]) -> str:
    """The same in words."""
    return {
        Exit.CONFORMANT: "conformant",
        Exit.NOT_CONFORMANT: "not conformant",
        Exit.INCONCLUSIVE: "inconclusive",
        Exit.KIT_ERROR: "kit error",
        Exit.USAGE: "usage error",
    }[exit_code(statuses)]
