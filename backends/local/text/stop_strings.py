"""Finds stop strings in text that arrives in pieces."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class StopStrings:
    """Passes the text of one sequence on, up to the first stop string.

    The first is the one that is complete first; of several that end at the same character, the longest. Where the
    pieces were cut makes no difference. What could be the beginning of a stop string is held back until it is known
    to be none, and nothing beyond that.

    Args:
        stop: The strings to look for, none of them empty.
    """

    __slots__ = ("_held", "_longest", "_stop", "found")

    found: bool
    """Whether a stop string was found. Text that comes after it is dropped."""

    def __init__(self, stop: Sequence[str]) -> None:
        self._stop = tuple(stop)
        self._longest = max(map(len, self._stop)) if stop else 0
        self._held = ""
        self.found = False

    def push(self, text: str) -> str:
        """Take the next piece; return the text that may go out now, perhaps empty."""
        if self.found or not self._stop:
            return "" if self.found else text
        text = self._held + text
        matches = [(at + len(stop), at) for stop in self._stop if (at := text.find(stop)) >= 0]
        if matches:
            self.found, self._held = True, ""
            return text[: min(matches)[1]]
        hold_from = self._possible_start(text)
        self._held = text[hold_from:]
        return text[:hold_from]

    def flush(self) -> str:
        """End the sequence: what was held back is no stop string after all."""
        rest, self._held = self._held, ""
        return rest

    def _possible_start(self, text: str) -> int:
        """Where the longest suffix of `text` begins that is the beginning of a stop string; its length if none."""
        earliest = len(text)
        oldest = max(0, len(text) - self._longest + 1)
        for stop in self._stop:
            at = text.find(stop[0], max(oldest, len(text) - len(stop) + 1), earliest)
            while at >= 0:
                if stop.startswith(text[at:]):
                    earliest = at
                    break
                at = text.find(stop[0], at + 1, earliest)
        return earliest
