"""Work with watchers beside it, such as one that waits for the client to leave."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect
from starlette.types import Receive

T = TypeVar("T")

_UNWATCHED_SECONDS = 0.005


@dataclass(frozen=True, slots=True)
class Watcher:
    """Runs beside the work, in a task of its own, and by its end ends the work.

    Attributes:
        after: Seconds of work before it begins. A task costs more than a short request's other waiting.
        watch: It.
    """

    after: float
    watch: Callable[[], Coroutine[Any, Any, None]]


async def until_disconnect(receive: Receive, work: Awaitable[T], *watchers: Watcher) -> T:
    """Do `work`, but cancel it as soon as the client leaves or one of the watchers ends.

    Raises:
        ClientDisconnect: The client left, or a watcher returned; there is nobody to answer.
        Exception: What a watcher failed with.
    """

    async def disconnect() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    task = asyncio.current_task()
    assert task is not None  # noqa: S101  awaiting takes one
    tasks: list[asyncio.Task[None]] = []
    ended: asyncio.Task[None] | None = None
    over = False

    def end(watcher: asyncio.Task[None]) -> None:
        nonlocal ended
        # It may be called when the work has just ended: then what follows must not be cancelled.
        if ended is None and not over and not watcher.cancelled():
            ended = watcher
            task.cancel()

    def begin(watch: Callable[[], Coroutine[Any, Any, None]]) -> None:
        watcher = asyncio.create_task(watch())
        watcher.add_done_callback(end)
        tasks.append(watcher)

    later = asyncio.get_running_loop().call_later
    timers = [later(_UNWATCHED_SECONDS, begin, disconnect)]
    timers += [later(watcher.after, begin, watcher.watch) for watcher in watchers]
    try:
        return await work
    except asyncio.CancelledError:
        if ended is not None and task.uncancel() == 0:
            ended.result()
            raise ClientDisconnect from None
        raise  # someone else wants the request to end
    finally:
        over = True
        for timer in timers:
            timer.cancel()
        for watcher in tasks:
            watcher.cancel()
