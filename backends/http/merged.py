"""Several streams as one."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

T = TypeVar("T")


async def merged(streams: Sequence[AsyncGenerator[T, None]], *, at_once: int) -> AsyncGenerator[T, None]:
    """What the streams yield, as it comes. The first failure ends all of them and is raised; so does closing.

    Args:
        streams: Not begun yet.
        at_once: How many of them run at the same time; the others wait, in order.
    """
    if len(streams) == 1:
        async with aclosing(streams[0]) as only:
            async for item in only:
                yield item
        return
    # Room for one item: a stream runs no further ahead than its reader.
    items: asyncio.Queue[T | BaseException | None] = asyncio.Queue(1)
    waiting = iter(streams)

    async def run() -> None:
        try:
            for stream in waiting:
                async with aclosing(stream):
                    async for item in stream:
                        await items.put(item)
        except Exception as error:  # noqa: BLE001  raised again by the reader
            await items.put(error)
        await items.put(None)

    tasks = [asyncio.create_task(run()) for _ in range(min(at_once, len(streams)))]
    left = len(tasks)
    try:
        while left:
            got = await items.get()
            if got is None:
                left -= 1
            elif isinstance(got, BaseException):
                raise got
            else:
                yield got
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for stream in streams:
            await stream.aclose()
