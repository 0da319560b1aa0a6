"""The server's end of a worker process: starts it, sends it requests, reads its reports. See `pipes.py`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import subprocess
import sys
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from specserve.backends.base import WorkerSettings
from specserve.backends.local.process.environment import worker_environment
from specserve.backends.local.process.pipes import HEARTBEAT
from specserve.backends.local.process.watchdog import watch_opening
from specserve.spec.errors import BackendLoadError

_LONGEST_LINE = 1 << 26
_PATIENCE = 1.0  # seconds between asking the process to end and killing it
_LAST_WAIT = 5.0  # seconds for the kernel to end a process that was killed
_HEARTBEATS = 10  # in the time after which silence is too long

_log = logging.getLogger("specserve.engine")


class BrokenReports(Exception):
    """A process says what cannot be understood, or was given up; the message says why, in words for the log."""


class Spawned:
    """A worker process that was just started and has been told nothing yet; it imports its library meanwhile.

    Must be made in the main thread: the kernel ends a worker with the thread that started it.

    Args:
        module: What it runs, which speaks as `pipes.py` says.
        settings: What holds for such processes.
    """

    def __init__(self, module: str, settings: WorkerSettings = WorkerSettings()) -> None:  # noqa: B008  it is frozen
        command = (sys.executable, "-P", "-m", module)
        self.silence_seconds = settings.silence_seconds
        environment = worker_environment(settings.environment, heartbeat_seconds=settings.silence_seconds / _HEARTBEATS)
        self.popen = subprocess.Popen(  # noqa: S603  the command is ours
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, env=environment
        )

    def end(self) -> None:
        """End a process that is not needed after all: without input it leaves."""
        for pipe in (self.popen.stdin, self.popen.stdout):
            if pipe is not None:
                pipe.close()
        self.popen.kill()
        self.popen.wait()


class Prepared:
    """The worker process that a backend has started early, until it is told what to open.

    Args:
        module: What it runs, as for `Spawned`.
        settings: As for `Spawned`.
    """

    def __init__(self, module: str, settings: WorkerSettings = WorkerSettings()) -> None:  # noqa: B008  it is frozen
        self._module = module
        self._settings = settings
        self._spawned: Spawned | None = None

    def start(self) -> None:
        """Start one, to be taken. That it cannot be started comes out when one is taken."""
        with contextlib.suppress(OSError):
            self._spawned = Spawned(self._module, self._settings)

    def take(self) -> Spawned:
        """The one that was started, or else a new one.

        Raises:
            BackendLoadError: The system cannot start a process now.
        """
        spawned, self._spawned = self._spawned, None
        if spawned is not None:
            return spawned
        try:
            return Spawned(self._module, self._settings)
        except OSError as error:
            raise BackendLoadError(f"no process can be started: {error.strerror or error}") from error

    def end(self) -> None:
        """End one that nobody has taken."""
        spawned, self._spawned = self._spawned, None
        if spawned is not None:
            spawned.end()


class WorkerProcess:
    """A running worker. Bound to the event loop that started it.

    Attributes:
        ready: What it said when it had opened the model.
        silence_seconds: How long it may say nothing; see `WorkerSettings`.
        lines: How many lines it has sent so far, heartbeats counted.
        reported: How many reports it has sent so far.
    """

    def __init__(
        self,
        spawned: Spawned,
        pipes: tuple[asyncio.WriteTransport, asyncio.ReadTransport],
        stdout: asyncio.StreamReader,
    ) -> None:
        self.ready: dict[str, Any] = {}
        self.silence_seconds = spawned.silence_seconds
        self.lines = 0
        self.reported = 0
        self._popen = spawned.popen
        self._stdin, self._pipe = pipes
        self._stdout = stdout
        self._given_up: BrokenReports | None = None
        self._ending: asyncio.Task[None] | None = None

    @classmethod
    async def start(cls, order: Mapping[str, object], spawned: Spawned, library: str) -> WorkerProcess:
        """Wait until a process that was just started has opened its model.

        Args:
            order: What to open; see the module that runs.
            spawned: The process.
            library: What it opens the model with, for people.

        Raises:
            BackendLoadError: The model could not be opened.
        """
        try:
            worker = await cls._connect(spawned)
        except BaseException:
            spawned.end()
            raise
        watching = asyncio.create_task(watch_opening(worker))
        try:
            worker.send(order)
            reply: dict[str, Any] = await anext(worker.reports(), {})
        except BrokenReports as error:
            await worker.stop(patience=0)
            raise BackendLoadError(f"{library} cannot open {order['model']}: its process {error}") from error
        except BaseException:
            await worker.stop(patience=0)
            raise
        finally:
            watching.cancel()
        if "ready" in reply:
            worker.ready = reply
            return worker
        await worker.stop()
        why = reply.get("failed", f"its process {worker.describe_end()}")
        raise BackendLoadError(f"{library} cannot open {order['model']}: {why}")

    @classmethod
    async def _connect(cls, spawned: Spawned) -> WorkerProcess:
        loop = asyncio.get_running_loop()
        stdout = asyncio.StreamReader(limit=_LONGEST_LINE)
        pipe, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stdout), spawned.popen.stdout)
        stdin, _ = await loop.connect_write_pipe(asyncio.Protocol, spawned.popen.stdin)
        return cls(spawned, (stdin, pipe), stdout)

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._popen.pid

    @property
    def runs(self) -> bool:
        """Whether the process has not ended."""
        return self._popen.poll() is None

    def describe_end(self) -> str:
        """How the process ended, as in "was ended by signal 9"."""
        code = self._popen.poll()
        if code is None:
            return "closed its output"
        return f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"

    def send(self, message: Mapping[str, object]) -> None:
        """Send one message; never waits. Nothing happens if the process is gone: its reports have ended then."""
        if not self._stdin.is_closing():
            self._stdin.write(json.dumps(message, separators=(",", ":")).encode() + b"\n")

    async def reports(self) -> AsyncGenerator[dict[str, Any], None]:
        """What the process reports, until it ends.

        Raises:
            BrokenReports: It said something that is no report, or was given up.
        """
        while self._given_up is None:
            try:
                line = await self._stdout.readline()
                if not line.endswith(b"\n"):
                    return
                self.lines += 1
                if line == HEARTBEAT:
                    continue
                report = json.loads(line)
            except (ValueError, RecursionError) as error:  # also a line that is too long
                raise BrokenReports(f"sent a report that cannot be read: {str(error)[:200]}") from error
            if not isinstance(report, dict):
                raise BrokenReports(f"sent a report that cannot be read: {str(report)[:200]}")
            self.reported += 1
            yield report
        raise self._given_up

    def give_up(self, why: str) -> None:
        """Kill it, and have who reads its reports told why, even if it cannot be killed."""
        self._given_up = BrokenReports(why)
        self._kill()
        self._stdout.set_exception(self._given_up)

    async def stop(self, patience: float = _PATIENCE) -> None:
        """Let the process end, and kill it if that takes longer than `patience` seconds.

        Goes on to the end when the one who waits is cancelled. May be called several times.
        """
        if patience <= 0:
            self._kill()
        if self._ending is None:
            self._ending = asyncio.create_task(self._end(patience), name=f"end worker {self.pid}")
        await asyncio.shield(self._ending)

    async def _end(self, patience: float) -> None:
        try:
            self._stdin.close()
            if not await self._ended(patience):
                self._kill()
                if not await self._ended(_LAST_WAIT):
                    _log.error("process %d was killed and does not end", self.pid)
            self._pipe.close()
            await asyncio.sleep(0)  # the loop closes the pipes now
        finally:
            if self._popen.poll() is None:  # the event loop ends before the process did
                self._kill()

    async def _ended(self, seconds: float) -> bool:
        """Whether the process ends in that time. Needs no thread: all of them may be busy when a server stops."""
        pause = 0.001
        while self._popen.poll() is None:
            if seconds <= 0:
                return False
            await asyncio.sleep(pause)
            seconds -= pause
            pause = min(pause * 2, 0.05)
        return True

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._popen.kill()
