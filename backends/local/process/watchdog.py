"""Finds worker processes that are alive and do nothing: stopped, or in a deadlock.

A process is given up when it has sent no line (heartbeats are lines) for its time of silence, or no report although it
has work, and has hardly computed meanwhile. One that computes is left alone for longer, because a library may hold
Python's global lock in a long step, and then there are no heartbeats.

Time is counted in turns of the event loop, not by a clock: when the server itself was stopped for an hour, its workers
have not been silent for an hour.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from specserve.backends.local.process.worker_process import WorkerProcess

_LOOKS = 10  # in the time of silence
_LEAST_USE = 0.01  # share of one processor; a heartbeat takes a hundredth of that
_BUSY_FACTOR = 20  # how much longer a process may be silent that computes
_OPENING_FACTOR = 10  # the same for one that opens its model: it may wait for a slow disk


async def watch(worker: WorkerProcess, has_work: Callable[[], bool]) -> None:
    """Watch a process that serves, until it is given up or gone."""
    await _watch(worker, has_work, worker.silence_seconds)


async def watch_opening(worker: WorkerProcess) -> None:
    """Watch a process that opens its model. Nobody knows how long that takes: only its lines are looked for."""
    await _watch(worker, lambda: False, worker.silence_seconds * _OPENING_FACTOR)


async def _watch(worker: WorkerProcess, has_work: Callable[[], bool], patience: float) -> None:
    if not patience:
        return
    silence = _Streak("sent nothing for {:.0f} s, and was killed", patience)
    idleness = _Streak("had work and reported nothing for {:.0f} s, and was killed", patience)
    while True:
        await asyncio.sleep(patience / _LOOKS)
        if not worker.runs:
            return  # who reads its reports finds that out
        used = partial(_processor_seconds, worker.pid)
        why = silence.look(worker.lines, used) or idleness.look(worker.reported if has_work() else None, used)
        if why:
            worker.give_up(why)
            return


class _Streak:
    """Looks in a row in which a count stayed the same."""

    def __init__(self, why: str, patience: float) -> None:
        self._why = why
        self._patience = patience
        self._count: int | None = None
        self._looks = 0
        self._used = 0.0

    def look(self, count: int | None, used: Callable[[], float]) -> str:
        """Look once more.

        Args:
            count: What should grow; None if it need not just now.
            used: Tells the processor seconds that the process has used so far. Asked as rarely as possible: it looks
                through all processes of the machine.

        Returns:
            Why to give the process up, or nothing.
        """
        if count is None or count != self._count:
            self._count, self._looks = count, 0
            return ""
        self._looks += 1
        if self._looks == 1:
            self._used = used()
        if self._looks % _LOOKS:
            return ""
        before, self._used = self._used, used()
        if self._used - before >= _LEAST_USE * self._patience and self._looks < _LOOKS * _BUSY_FACTOR:
            return ""
        return self._why.format(self._patience * self._looks / _LOOKS)


def _processor_seconds(pid: int) -> float:
    """Processor time that a process and its children have used; 0 if it is gone."""
    import psutil

    try:
        process = psutil.Process(pid)
        return sum(sum(each.cpu_times()[:4]) for each in (process, *process.children(recursive=True)))
    except psutil.Error:
        return 0.0
