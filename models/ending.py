"""The end of backends: always reached, never cancelled half-way, and waited for only so long."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from specserve.backends.base import Backend

_log = logging.getLogger("specserve.models")


class Endings:
    """The backends of one model that are being stopped. Lives on one event loop."""

    def __init__(self, model_id: str) -> None:
        self._model_id = model_id
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, backend: Backend) -> None:
        """Stop a backend, in a task of its own that nobody's cancellation ends."""
        task = asyncio.create_task(self._stop(backend), name=f"stop {self._model_id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def wait(self, seconds: float) -> None:
        """Wait until all have stopped, but not longer than that; then they are left to themselves."""
        if not self._tasks:
            return
        _, pending = await asyncio.wait(self._tasks, timeout=seconds)
        if pending:
            _log.error("a backend of model %r does not stop, and is left to itself", self._model_id)
            self._tasks -= pending

    async def _stop(self, backend: Backend) -> None:
        try:
            await backend.stop()
        except Exception:  # noqa: BLE001  whatever it raises, it is given up
            _log.exception("the backend of model %r failed to stop", self._model_id)
