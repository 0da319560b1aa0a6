"""How many models, and how much memory, at once: unloads the least recently used to make room for another.

What a model takes is what its settings declare (`memory_mb`), or else the resident memory of its engine's processes, as
measured now. A model without processes of its own, and with nothing declared, counts as nothing: what it takes is part
of the server's own memory, of which no share can be told apart. The server's process itself is not counted.
"""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from specserve.spec.errors import BackendLoadError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Iterable

    from specserve.models.bounds import Bounds
    from specserve.models.served_model import ServedModel

_MEGABYTE = 1_000_000

_SECONDS_BETWEEN_LOOKS = 5.0
"""How often `watch` looks whether models have grown out of the memory that they may take."""


def resident_memory(pids: Iterable[int]) -> int:
    """Bytes of resident memory that processes have, those that are gone left out."""
    import psutil

    total = 0
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            total += psutil.Process(pid).memory_info().rss
    return total


class LoadBudget:
    """Keeps the models that are in memory within the limits.

    Attributes:
        bounds: The limits.
        fixed: Whether no model may be unloaded for another. So it is at start, where what does not fit is an error.
    """

    def __init__(self, bounds: Bounds, models: Callable[[], Collection[ServedModel]]) -> None:
        self.bounds = bounds
        self.fixed = False
        self._models = models
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def admitted(self, model: ServedModel) -> AsyncIterator[None]:
        """Give a model room, for others that are unloaded for it as long as that takes; it is loaded inside.

        A model in use is unloaded when its requests have finished or its time for draining is over, and only if all
        others are in use too. Where memory is limited, models are loaded one after the other and looked at then, when
        it is known what they take. So a model waits here while others drain and load, each for a limited time.

        Raises:
            BackendLoadError: There is no room, and no other model that could be unloaded; also at the end.
        """
        if self.fixed:
            await self._make(model)
            yield
            await self._make(model)
            return
        async with self._lock:  # held while others finish: models that need room are served in turn
            await self._make(model)
            if self.bounds.max_memory_mb:
                yield
                await self._make(model)
                return
        yield

    async def watch(self) -> None:
        """Unload what no request uses, whenever models have grown over the limit. Never ends."""
        while True:
            await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)
            await self.shrink()

    async def shrink(self, *, drain: bool = False) -> None:
        """Unload models, the least recently used first, if there are too many or they take too much.

        Args:
            drain: Unload also models that are in use, as `admitted` does; else those that no request uses.
        """
        async with self._lock:
            while self._is_exceeded():
                present = [model for model in self._models() if model.in_budget]
                loaded = [model for model in present if model.state in {"loaded", "failed"}]
                candidates = loaded if drain else [model for model in loaded if not model.in_use]
                if len(present) < 2 or not candidates:
                    return
                await min(candidates, key=_unloaded_first).unload()

    async def _make(self, model: ServedModel) -> None:
        while lack := self._lack(model):
            others = [other for other in self._models() if other.in_budget and other is not model]
            if self.fixed or not others:
                raise BackendLoadError(lack)
            ready = [other for other in others if other.state != "loading"]
            if ready:
                await min(ready, key=_unloaded_first).unload()
            else:
                await others[0].settled()
        model.in_budget = True

    def _lack(self, model: ServedModel) -> str:
        """What there is too little of for one more model, in words; empty if there is room."""
        bounds = self.bounds
        if not bounds.max_loaded and not bounds.max_memory_mb:
            return ""  # a list of 20,000 models is not gone through for each of them
        others = [other for other in self._models() if other.in_budget and other is not model]
        if bounds.max_loaded and len(others) >= bounds.max_loaded:
            return f"'max_loaded_models' is {bounds.max_loaded}, and as many models are loaded"
        if bounds.max_memory_mb:
            own = self._size(model)
            total = own + sum(map(self._size, others))
            if total > bounds.max_memory_mb * _MEGABYTE:
                beside = f", {(total - own) / _MEGABYTE:.0f} MB are taken by others" if others else ""
                limit = f"'max_memory_mb' is {bounds.max_memory_mb}"
                return f"it takes {own / _MEGABYTE:.0f} MB{beside}, and {limit}"
        return ""

    def _is_exceeded(self) -> bool:
        present = [model for model in self._models() if model.in_budget]
        too_many = 0 < self.bounds.max_loaded < len(present)
        return too_many or 0 < self.bounds.max_memory_mb * _MEGABYTE < sum(map(self._size, present))

    def _size(self, model: ServedModel) -> int:
        """Bytes that a model takes, or, if it is not loaded, took when it was last looked at."""
        if model.settings.memory_mb is not None:
            return model.settings.memory_mb * _MEGABYTE
        if pids := model.processes:
            model.last_size = resident_memory(pids)
        return model.last_size


def _unloaded_first(model: ServedModel) -> tuple[bool, float]:
    return model.in_use, model.last_used
