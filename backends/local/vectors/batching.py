"""Batches over all requests in work: inputs of like length run together, whoever asked for them.

Requests take turns: each batch begins with the longest input of the request whose turn it is, and what room is left
goes to inputs of the others. So a single sentence does not wait for another request's two thousand, and many requests
of one sentence run as fast as one request of many.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from specserve.spec.errors import EngineFailure, Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

Row = Sequence[int]
Format = Literal["float", "base64"]
Vector = list[float] | str


class Work:
    """The inputs of one request.

    Attributes:
        rows: Token ids of each input.
        form: What the vectors shall be.
        left: Places of inputs that have not run yet, the longest last.
        vectors: What was found so far.
        missing: How many vectors are still to be found.
        done: Has a result when none is missing, or the error that ended the work; cancelled if the caller went away.
    """

    def __init__(self, rows: Sequence[Row], form: Format) -> None:
        self.rows = rows
        self.form = form
        self.left = sorted(range(len(rows)), key=lambda place: len(rows[place]))
        self.vectors: list[Vector] = [""] * len(rows)
        self.missing = len(rows)
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def longest(self) -> int:
        """Length of the longest input that has not run."""
        return len(self.rows[self.left[-1]])

    def found(self, place: int, vector: Vector) -> None:
        """Take one vector."""
        self.vectors[place] = vector
        self.missing -= 1
        if not self.missing and not self.done.done():
            self.done.set_result(None)

    def fail(self, error: Exception) -> None:
        """End the work."""
        if not self.done.done():
            self.done.set_exception(error)


def take_batch(queue: deque[Work], most_tokens: int) -> list[tuple[Work, int]]:
    """Take from the queue what shall run next: inputs that, padded to the longest, stay within so many tokens.

    One input that is longer runs alone. The queue is left with the works that have more to run, the next in front.
    """
    longest = queue[0].longest()
    batch = [(queue[0], queue[0].left.pop())]
    for work in queue:
        # Half as long is near enough: padding an input costs what running a longer one would.
        while work.left and longest <= 2 * work.longest() <= 2 * longest and (len(batch) + 1) * longest <= most_tokens:
            batch.append((work, work.left.pop()))
    queue.rotate(-1)
    more = [work for work in queue if work.left]
    queue.clear()
    queue.extend(more)
    return batch


class Batcher:
    """Runs the works of all requests, one batch at a time. Lives on one event loop."""

    def __init__(self, run: Callable[[list[tuple[Row, Format]]], Awaitable[list[Vector]]], most_tokens: int) -> None:
        self._run = run
        self._most_tokens = most_tokens
        self._queue: deque[Work] = deque()
        self._running: list[Work] = []
        self._task: asyncio.Task[None] | None = None

    async def vectors(self, rows: Sequence[Row], form: Format) -> list[Vector]:
        """The vector of each row, in order. A caller that goes away leaves nothing in the queue."""
        work = Work(rows, form)
        self._queue.append(work)
        if self._task is None:
            self._task = asyncio.create_task(self._run_all())
        await work.done
        return work.vectors

    async def stop(self) -> None:
        """End all work as unavailable, and return when the batch that runs has ended."""
        for work in (*self._queue, *self._running):
            work.fail(Unavailable("The model is being unloaded."))
        if self._task is not None:
            await asyncio.wait([self._task])

    def _batches(self) -> Iterator[list[tuple[Work, int]]]:
        while True:
            for work in [work for work in self._queue if work.done.done()]:
                self._queue.remove(work)
            if not self._queue:
                return
            yield take_batch(self._queue, self._most_tokens)

    async def _run_all(self) -> None:
        try:
            for batch in self._batches():
                self._running = [work for work, _ in batch]
                try:
                    vectors = await self._run([(work.rows[place], work.form) for work, place in batch])
                    found = list(zip(batch, vectors, strict=True))
                except Exception as error:  # noqa: BLE001 - it is raised where the requests wait
                    for work in self._running:
                        work.fail(error)
                else:
                    for (work, place), vector in found:
                        work.found(place, vector)
        finally:
            # Whatever ended this, no request waits for ever, and the next one begins anew.
            for work in (*self._queue, *self._running):
                work.fail(EngineFailure("The engine broke while it worked on this request."))
            self._queue.clear()
            self._running = []
            self._task = None
