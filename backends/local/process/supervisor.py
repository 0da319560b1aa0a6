"""Keeps a worker process running: reads what it reports, tells who waits when it is lost, starts another.

The one pattern for all that have a worker process. Whatever goes wrong (the process ends, is silent, or sends what
cannot be read or makes no sense; no other can be started, for want of memory or for any other reason) ends in the same
way: who waits is told, the log says it, `outage` says it, and starting another is tried for ever, with pauses that
grow.
"""

from __future__ import annotations

import asyncio
import logging
import math
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from specserve.backends.local.process.watchdog import watch
from specserve.backends.local.process.worker_process import BrokenReports
from specserve.spec.errors import APIError, EngineFailure, Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from specserve.backends.local.process.worker_process import WorkerProcess

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
"""Seconds before a start is tried again; each failure doubles them. A process that had worked is replaced at once."""

_LEAST_RETRY_AFTER = 5  # seconds; what a start takes, about

_log = logging.getLogger("specserve.engine")


class Supervisor:
    """The life of one worker process and its successors. Bound to the event loop that starts it."""

    def __init__(
        self,
        name: str,
        launch: Callable[[], Awaitable[WorkerProcess]],
        *,
        on_report: Callable[[WorkerProcess, dict[str, Any]], None],
        on_loss: Callable[[APIError], None],
        has_work: Callable[[], bool],
    ) -> None:
        """Prepare; `start` or the first `running` starts the process.

        Args:
            name: What the process is and of which model, for the log.
            launch: Starts a process that has its model open. May raise anything.
            on_report: Takes each report. What it raises counts as a fault of the report, and the process is replaced.
            on_loss: Called when the process is lost, or stopped: ends with this error whatever waits for reports.
            has_work: Whether the process owes a report.
        """
        self.on_outage: Callable[[], None] = lambda: None
        self._name = name
        self._launch = launch
        self._on_report = on_report
        self._on_loss = on_loss
        self._has_work = has_work
        self._worker: WorkerProcess | None = None
        self._task: asyncio.Task[None] | None = None
        self._first: asyncio.Task[None] | None = None
        self._renewed: asyncio.Event | None = None  # while a process is replaced on purpose
        self._outage: str | None = None
        self._stopped = False
        self._pause = 0.0

    @property
    def worker(self) -> WorkerProcess | None:
        """The process, if it runs and has its model open."""
        return self._worker

    @property
    def outage(self) -> str | None:
        """Why there is no process though there should be, in words for clients; None if all is well."""
        return self._outage

    async def start(self, launched: Awaitable[WorkerProcess] | None = None) -> None:
        """Start the first process. That it cannot be started is an error here, and not tried again.

        Args:
            launched: The process, if it is starting already.

        Raises:
            BackendLoadError: Its model cannot be opened.
        """
        worker = await (launched or self._launch())
        if self._stopped:
            await worker.stop(patience=0)
            raise Unavailable("The model is being unloaded.", retry_after=_LEAST_RETRY_AFTER)
        self._worker = worker
        self._task = asyncio.create_task(self._supervise(worker), name=f"supervise {self._name}")

    async def running(self) -> WorkerProcess:
        """The process; started now if it never was, and waited for while it is replaced on purpose.

        Raises:
            BackendLoadError: The first one cannot be started.
            Unavailable: It was lost and is being started again, or was stopped.
        """
        if self._renewed is not None:
            await self._renewed.wait()
        if self._worker is None and self._task is None and not self._stopped:
            if self._first is None or self._first.done():
                self._first = asyncio.create_task(self.start(), name=f"start {self._name}")
                self._first.add_done_callback(_look_at)
            await asyncio.wait([self._first])  # others may wait for it too: it is not cancelled with one of them
            if not self._first.cancelled() and (error := self._first.exception()) is not None:
                raise error
        if self._worker is None:
            why = "The model is being unloaded." if self._stopped else self._outage or "The model is not loaded."
            raise Unavailable(why, retry_after=max(_LEAST_RETRY_AFTER, math.ceil(self._pause)))
        return self._worker

    def renew(self) -> None:
        """Replace the process after the report that is taken just now. Only while nobody waits for it."""
        self._renewed = self._renewed or asyncio.Event()

    async def stop(self) -> None:
        """End the process for good, and everything that waits for it. Goes on when the one who waits is cancelled."""
        self._stopped = True
        self._on_loss(Unavailable("The model is being unloaded.", retry_after=_LEAST_RETRY_AFTER))
        worker, self._worker = self._worker, None
        for task in (self._first, self._task):
            if task is not None:
                task.cancel()
        try:
            if worker is not None:
                await worker.stop()
        finally:
            tasks = [task for task in (self._first, self._task) if task is not None]
            if tasks:
                await asyncio.wait(tasks)
            self._set_outage(None)

    async def _supervise(self, worker: WorkerProcess) -> None:
        while True:
            why = await self._until_lost(worker)
            self._worker = None
            if self._renewed is None:
                # A process that had reported something was well; one that never did may be lost again at once.
                self._pause = 0.0 if worker.reported > 1 else _longer(self._pause)
                self._tell_loss()
            await worker.stop()
            if self._renewed is None:
                _log.error("%s is lost: its process %s", self._name, why or worker.describe_end())
            worker = await self._start_another()
            self._worker = worker
            self._set_outage(None)
            self._end_renewal()
            _log.warning("%s runs again, as process %d", self._name, worker.pid)

    async def _until_lost(self, worker: WorkerProcess) -> str:
        """Take what a process reports, until it is lost or to be replaced; why, if that is known."""
        watching = asyncio.create_task(watch(worker, self._has_work), name=f"watch {self._name}")
        try:
            async with aclosing(worker.reports()) as reports:
                async for report in reports:
                    self._on_report(worker, report)
                    if self._renewed is not None:
                        break
        except BrokenReports as error:
            return str(error)
        except Exception:  # noqa: BLE001  whatever a report leads to, the process is replaced
            _log.exception("%s: a report makes no sense", self._name)
            return "sent a report that makes no sense"
        finally:
            watching.cancel()
        return ""

    def _tell_loss(self) -> None:
        try:
            self._on_loss(EngineFailure("The engine broke while it worked on this request."))
        except Exception:  # noqa: BLE001  the process must be replaced all the same
            _log.exception("%s: not all requests could be told that it is lost", self._name)
        self._set_outage("The engine broke and is starting again.")

    async def _start_another(self) -> WorkerProcess:
        while True:
            await asyncio.sleep(self._pause)
            try:
                return await self._launch()
            except Exception as error:  # noqa: BLE001  whatever it is, the next try may go well
                self._pause = _longer(self._pause)
                _log.error(
                    "%s cannot be started again; next try in %.0f s: %s",
                    self._name,
                    self._pause,
                    str(error) or type(error).__name__,
                )
                self._set_outage("The engine broke and could not be started again yet; that is tried again.")
                self._end_renewal()

    def _end_renewal(self) -> None:
        if self._renewed is not None:
            self._renewed.set()
            self._renewed = None

    def _set_outage(self, outage: str | None) -> None:
        if outage == self._outage:
            return
        self._outage = outage
        try:
            self.on_outage()
        except Exception:  # noqa: BLE001  the process must be replaced all the same
            _log.exception("%s: a listener failed", self._name)


def _longer(pause: float) -> float:
    return min(max(pause * 2, _FIRST_PAUSE), _LONGEST_PAUSE)


def _look_at(task: asyncio.Task[None]) -> None:
    """Have an exception seen, also when those who waited for it have gone."""
    if not task.cancelled():
        task.exception()
