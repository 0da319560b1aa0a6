"""What requests hold of a model, from the look at its capabilities to the end of the answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from specserve.spec.errors import APIError

Interrupt = Callable[["APIError"], None]
"""Ends a request with an error, whatever it does just now. Returns at once."""


class Lease:
    """The right to use a loaded model, which is not unloaded before `release`, unless that takes too long."""

    __slots__ = ("_leases", "interrupt")

    def __init__(self, leases: Leases, interrupt: Interrupt) -> None:
        self._leases = leases
        self.interrupt = interrupt

    def release(self) -> None:
        """Give it back. May be called twice."""
        self._leases.give_back(self)


class Leases:
    """The leases of one model. Lives on one event loop.

    Attributes:
        last_used: When one was last taken or given back, by the monotonic clock.
    """

    def __init__(self, on_free: Callable[[], None]) -> None:
        """Begin with none.

        Args:
            on_free: Called when the last one is given back.
        """
        self.last_used = 0.0
        self._on_free = on_free
        self._held: set[Lease] = set()
        self._free = asyncio.Event()
        self._free.set()

    def __len__(self) -> int:
        return len(self._held)

    def take(self, interrupt: Interrupt) -> Lease:
        """Take one."""
        lease = Lease(self, interrupt)
        self._held.add(lease)
        self._free.clear()
        self.last_used = time.monotonic()
        return lease

    def give_back(self, lease: Lease) -> None:
        """See `Lease.release`."""
        self._held.discard(lease)
        self.last_used = time.monotonic()
        if not self._held:
            self._free.set()
            self._on_free()

    async def are_given_back(self, seconds: float) -> bool:
        """Wait until none is held, but not longer than that; whether that came."""
        try:
            async with asyncio.timeout(seconds):
                await self._free.wait()
        except TimeoutError:
            return False
        return True

    def interrupt_all(self, error: APIError) -> None:
        """End the requests that hold one."""
        for lease in list(self._held):
            lease.interrupt(error)
