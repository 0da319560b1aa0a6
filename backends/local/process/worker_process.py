"""The server's end of an engine process: starts it, sends it requests, reads its reports. See `pipes.py`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from typing import Any

from specserve.spec.errors import BackendLoadError

_LONGEST_LINE = 1 << 26
_PATIENCE = 5.0  # seconds between asking the process to end and killing it


class Spawned:
    """An engine process that was just started and has been told nothing yet; it imports its library meanwhile.

    Args:
        module: What it runs, which speaks as `pipes.py` says.
    """

    def __init__(self, module: str) -> None:
        command = (sys.executable, "-P", "-m", module)
        self.popen = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)  # noqa: S603

    def end(self) -> None:
        """End a process that is not needed after all: without input it leaves."""
        for pipe in (self.popen.stdin, self.popen.stdout):
            if pipe is not None:
                pipe.close()
        self.popen.kill()
        self.popen.wait()


class Prepared:
    """The engine process that a backend has started early, until it is told what to open.

    Args:
        module: What it runs, as for `Spawned`.
    """

    def __init__(self, module: str) -> None:
        self._module = module
        self._spawned: Spawned | None = None

    def start(self) -> None:
        """Start one, to be taken."""
        self._spawned = Spawned(self._module)

    def take(self) -> Spawned:
        """The one that was started, or else a new one."""
        spawned, self._spawned = self._spawned, None
        return spawned or Spawned(self._module)

    def end(self) -> None:
        """End one that nobody has taken."""
        spawned, self._spawned = self._spawned, None
        if spawned is not None:
            spawned.end()


class WorkerProcess:
    """A running engine. Bound to the event loop that started it.

    Attributes:
        ready: What it said when it had opened the model.
    """

    def __init__(
        self,
        popen: subprocess.Popen[bytes],
        pipes: tuple[asyncio.WriteTransport, asyncio.ReadTransport],
        stdout: asyncio.StreamReader,
    ) -> None:
        self._popen = popen
        self._stdin, self._pipe = pipes
        self._stdout = stdout
        self.ready: dict[str, Any] = {}

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
            engine = await cls._connect(spawned.popen)
        except BaseException:
            spawned.end()
            raise
        try:
            engine.send(order)
            reply: dict[str, Any] = await anext(engine.reports(), {})
        except BaseException:
            await engine.stop(patience=0)
            raise
        if "ready" in reply:
            engine.ready = reply
            return engine
        await engine.stop()
        why = reply.get("failed", f"the engine process ended with code {spawned.popen.returncode}")
        raise BackendLoadError(f"{library} cannot open {order['model']}: {why}")

    @classmethod
    async def _connect(cls, popen: subprocess.Popen[bytes]) -> WorkerProcess:
        loop = asyncio.get_running_loop()
        stdout = asyncio.StreamReader(limit=_LONGEST_LINE)
        pipe, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stdout), popen.stdout)
        stdin, _ = await loop.connect_write_pipe(asyncio.Protocol, popen.stdin)
        return cls(popen, (stdin, pipe), stdout)

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._popen.pid

    def send(self, message: Mapping[str, object]) -> None:
        """Send one message; never waits. Nothing happens if the process is gone: its reports have ended then."""
        if not self._stdin.is_closing():
            self._stdin.write(json.dumps(message, separators=(",", ":")).encode() + b"\n")

    async def reports(self) -> AsyncIterator[dict[str, Any]]:
        """What the process reports, until it ends."""
        while True:
            line = await self._stdout.readline()
            if not line.endswith(b"\n"):
                return
            yield json.loads(line)

    async def stop(self, patience: float = _PATIENCE) -> None:
        """Let the process finish its step and end; kill it if that takes too long."""
        self._stdin.close()
        try:
            await asyncio.to_thread(self._popen.wait, patience)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                self._popen.kill()
            await asyncio.to_thread(self._popen.wait)
        self._pipe.close()
        await asyncio.sleep(0)  # the loop closes the pipes now
