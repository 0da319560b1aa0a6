"""Where work on large bodies is done, so that it holds nobody else up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

LARGE_BODY_BYTES = 64 * 1024
_VERY_LARGE_BODY_BYTES = 1024 * 1024

T = TypeVar("T")


class OffLoop:
    """Runs work on a small body at once, on a larger one in a thread.

    There is one thread for large bodies and one for very large ones. More would not be faster, since Python runs in one
    at a time, and each would make the event loop wait for its turn. What runs in them must be made of short steps: a
    long one that does not give up the interpreter holds up everybody, thread or not.
    """

    def __init__(self) -> None:
        self._large = ThreadPoolExecutor(1, "large-bodies")
        self._very_large = ThreadPoolExecutor(1, "very-large-bodies")

    async def __call__(self, work: Callable[[], T], size: int) -> T:
        """Do `work`.

        Args:
            work: Raises what it likes.
            size: Bytes of the body that it works on.
        """
        if size <= LARGE_BODY_BYTES:
            return work()
        lane = self._large if size <= _VERY_LARGE_BODY_BYTES else self._very_large
        return await asyncio.get_running_loop().run_in_executor(lane, _carried, work)

    def close(self) -> None:
        """Forget what has not begun."""
        for lane in (self._large, self._very_large):
            lane.shutdown(wait=False, cancel_futures=True)


def _carried(work: Callable[[], T]) -> T:
    try:
        return work()
    except StopIteration as error:  # a future cannot carry it: who waits would wait for ever
        raise RuntimeError("work off the loop raised StopIteration") from error
