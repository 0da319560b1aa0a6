"""What was fetched a moment ago, so that many models that need the same do not each fetch it."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

V = TypeVar("V")


class Kept(Generic[V]):
    """Values that are forgotten after a while. Each event loop has its own.

    Args:
        seconds: How long a value is kept.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._values: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Hashable, V]] = WeakKeyDictionary()

    def get(self, key: Hashable) -> V | None:
        """The value that was kept, if it still is."""
        return self._values.get(asyncio.get_running_loop(), {}).get(key)

    def put(self, key: Hashable, value: V) -> None:
        """Keep a value."""
        loop = asyncio.get_running_loop()
        values = self._values.setdefault(loop, {})
        values[key] = value

        def forget() -> None:
            if values.get(key) is value:
                del values[key]

        loop.call_later(self._seconds, forget)
