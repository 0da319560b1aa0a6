"""How large a value is when it is written out."""

from __future__ import annotations

from math import inf
from typing import Any


def size_of(value: Any, most: float = inf) -> int:
    """About how many characters a value has when it is written out: texts and keys, and something for all else.

    Args:
        value: The value.
        most: A size from which on it need not be told exactly.
    """
    size, waiting = 0, [value]
    while waiting and size <= most:
        item = waiting.pop()
        if isinstance(item, str):
            size += len(item)
        elif isinstance(item, dict):
            size += 4 * len(item) + sum(map(len, item))
            waiting += item.values()
        elif isinstance(item, list | tuple):
            size += 2 * len(item)
            waiting += item
        else:
            size += 8
    return size
