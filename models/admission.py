"""How many requests a model works on at once, and how many may wait."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque

from specserve.spec.errors import Overloaded

_SMOOTHING = 0.2  # weight of the newest request in the moving average of durations


class Admission:
    """A bounded, first-come-first-served door in front of one model. Lives on one event loop."""

    def __init__(self, max_concurrent: int, max_queued: int, max_wait: float = 0) -> None:
        """Open the door.

        Args:
            max_concurrent: Most requests inside.
            max_queued: Most requests in the queue.
            max_wait: How many seconds one waits in the queue at most; 0 sets no limit.
        """
        self._max_concurrent = max_concurrent
        self._max_queued = max_queued
        self._max_wait = max_wait
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._running = 0
        self._mean_duration = 1.0

    def resize(self, max_concurrent: int, max_queued: int, max_wait: float = 0) -> None:
        """Set other limits. No request that is inside or waits is sent away."""
        self._max_concurrent = max_concurrent
        self._max_queued = max_queued
        self._max_wait = max_wait
        while self._running < max_concurrent and self._waiters:
            self._running += 1
            self._leave()

    @property
    def capacity(self) -> int:
        """Most requests inside and waiting together."""
        return self._max_concurrent + self._max_queued

    @property
    def running(self) -> int:
        """Requests inside."""
        return self._running

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return len(self._waiters)

    def slot(self) -> _Slot:
        """Hold one of the model's slots, waiting in the queue if all are taken. An asynchronous context manager.

        Raises:
            Overloaded: The queue is full, which is raised at once with an estimate of when a place will be free; or no
                slot was free in the time that a request waits.
        """
        return _Slot(self)

    def finished(self, seconds: float) -> None:
        """Give a slot back that was held so long."""
        self._mean_duration += _SMOOTHING * (seconds - self._mean_duration)
        self._leave()

    async def enter(self) -> None:
        """Take a slot; see `slot`."""
        if self._running < self._max_concurrent:
            self._running += 1
            return
        if len(self._waiters) >= self._max_queued:
            raise Overloaded("The model's queue is full. Please try again later.", retry_after=self._retry_after)
        try:
            async with asyncio.timeout(self._max_wait or None):
                await self._turn()
        except TimeoutError:
            message = f"The model was busy for the {self._max_wait:g} seconds that a request waits."
            raise Overloaded(message, retry_after=self._retry_after) from None

    @property
    def _retry_after(self) -> int:
        return max(1, math.ceil(self._mean_duration))

    async def _turn(self) -> None:
        """Wait in the queue."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._leave()  # the slot was handed over in the same moment: pass it on
            elif turn in self._waiters:
                self._waiters.remove(turn)
            raise

    def _leave(self) -> None:
        """Hand the slot to the longest waiting request, or free it."""
        while self._waiters and self._running <= self._max_concurrent:
            turn = self._waiters.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._running -= 1


class _Slot:
    """See `Admission.slot`."""

    __slots__ = ("_admission", "_started")

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._started = 0.0

    async def __aenter__(self) -> None:
        await self._admission.enter()
        self._started = time.monotonic()

    async def __aexit__(self, *_error: object) -> None:
        self._admission.finished(time.monotonic() - self._started)
