"""What of a request had no effect, as a header and the log tell it: bounded, whatever the client sends."""

from __future__ import annotations

IGNORED_HEADER = "x-specserve-ignored-parameters"
_MOST_CHARACTERS = 1000
_LONGEST_NAME = 200


class Ignored:
    """The names of what was ignored. Many names cost no more than a few: some are kept, the others counted."""

    __slots__ = ("_length", "_names", "_others")

    def __init__(self) -> None:
        self._names: list[str] = []
        self._length = 0
        self._others = 0

    def __bool__(self) -> bool:
        return bool(self._names)

    def __str__(self) -> str:
        """The header's value."""
        more = [f"and {self._others} more"] if self._others else []
        return ", ".join(self._names + more)

    def add(self, name: str) -> None:
        """Tell that something had no effect.

        Args:
            name: Such as ``messages[0].mood``. It may be a client's own key and hold anything.
        """
        name = name[:_LONGEST_NAME]
        if self._others or self._length + len(name) > _MOST_CHARACTERS:
            self._others += 1
            return
        safe = "".join(c if c.isascii() and c.isprintable() and c != "," else "?" for c in name)
        self._names.append(safe)
        self._length += len(safe) + len(", ")
