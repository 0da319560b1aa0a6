"""The server's end of the engine process: starts it, sends it requests, reads its reports."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Mapping
from typing import Any

from specserve.backends.errors import BackendLoadError

_COMMAND = (sys.executable, "-P", "-m", "specserve.backends.openvino.worker")
_LONGEST_LINE = 1 << 26
_PATIENCE = 5.0  # seconds between asking the process to end and killing it


class EngineProcess:
    """A running engine. Bound to the event loop that started it.

    Attributes:
        capacity: Most tokens that its KV cache can hold, or None if it grows.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.capacity: int | None = None

    @classmethod
    async def start(cls, order: Mapping[str, object]) -> EngineProcess:
        """Start the process and wait until it has opened the model.

        Args:
            order: What to open; see `worker.py`.

        Raises:
            BackendLoadError: The model could not be opened.
        """
        process = await asyncio.create_subprocess_exec(
            *_COMMAND, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=_LONGEST_LINE
        )
        engine = cls(process)
        try:
            engine.send(order)
            reply: dict[str, Any] = await anext(engine.reports(), {})
        except BaseException:
            await engine.stop(patience=0)
            raise
        if "ready" in reply:
            engine.capacity = reply["capacity"]
            return engine
        await engine.stop()
        why = reply.get("failed", f"the engine process ended with code {process.returncode}")
        raise BackendLoadError(f"OpenVINO cannot open {order['model']}: {why}")

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    def send(self, message: Mapping[str, object]) -> None:
        """Send one message; never waits. Nothing happens if the process is gone: its reports have ended then."""
        stdin = self._process.stdin
        if stdin is not None and not stdin.is_closing():
            stdin.write(json.dumps(message, separators=(",", ":")).encode() + b"\n")

    async def reports(self) -> AsyncIterator[dict[str, Any]]:
        """What the process reports, until it ends."""
        stdout = self._process.stdout
        while stdout is not None:
            line = await stdout.readline()
            if not line.endswith(b"\n"):
                return
            yield json.loads(line)

    async def stop(self, patience: float = _PATIENCE) -> None:
        """Let the process finish its step and end; kill it if that takes too long."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), patience)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
