"""On which line of a TOML file something stands, which `tomllib` does not tell.

The beginnings of a file that are TOML themselves are those that end where a statement ends. So a key stands in the
statement after the longest such beginning in which it is absent. That takes the parser that read the file, and no other
one that could see it differently.
"""

from __future__ import annotations

import bisect
import tomllib
from collections.abc import Sequence
from typing import Any


def line_of(text: str, path: Sequence[str | int]) -> int:
    """The line, from 1, of the statement that brings the value at a path, or the nearest table or list around it.

    Args:
        text: A file that `tomllib` reads.
        path: Keys and places in lists, outermost first, such as ``("models", 0, "id")``.
    """
    whole = tomllib.loads(text)
    while path and not _holds(whole, path):
        path = path[:-1]
    lines = [f"{line}\n" for line in text.split("\n")]

    def is_there(count: int) -> bool:
        """Whether it is there in the shortest beginning that is TOML and has this many lines or more."""
        for end in range(count, len(lines)):
            try:
                return _holds(tomllib.loads("".join(lines[:end])), path)
            except tomllib.TOMLDecodeError:
                continue
        return True

    return bisect.bisect_left(range(1, len(lines) + 1), True, key=is_there) + 1


def _holds(data: Any, path: Sequence[str | int]) -> bool:
    for part in path:
        if isinstance(part, int):
            if not isinstance(data, list) or part >= len(data):
                return False
        elif not isinstance(data, dict) or part not in data:
            return False
        data = data[part]
    return True
