"""Writes log lines to a file descriptor that may be full, closed, or a pipe that nobody reads. Nobody waits for it."""

from __future__ import annotations

import atexit
import os
import select
import threading
from collections import deque

_MOST_LINES = 10_000
_MOST_AT_ONCE = 1000
_GATHER_SECONDS = 0.01
_FAREWELL_SECONDS = 1.0


class LogWriter:
    """A text stream whose writer is a thread. Lines that it cannot keep up with are dropped, and counted.

    Attributes:
        dropped: Lines that were lost so far. The next line that can be written again says how many.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lines: deque[str] = deque()
        self._come = threading.Event()
        self._told = 0
        self._ends = False
        self._thread: threading.Thread | None = None
        self.dropped = 0
        atexit.register(self.close)

    def write(self, text: str) -> int:
        """Take a line; it is written soon."""
        if len(self._lines) >= _MOST_LINES:
            self.dropped += 1
            return len(text)
        self._lines.append(text)
        self._come.set()
        if self._thread is None:
            self._start()
        return len(text)

    def flush(self) -> None:
        """Do nothing: what was taken is written soon."""

    def isatty(self) -> bool:
        """Whether a person looks at it."""
        try:
            return os.isatty(self._descriptor)
        except OSError:
            return False

    def close(self, seconds: float = _FAREWELL_SECONDS) -> None:
        """Write what was taken, within this time."""
        if self._thread is None:
            return
        self._ends = True
        self._come.set()
        self._thread.join(seconds)
        if not self._thread.is_alive():
            self._thread = None

    def _start(self) -> None:
        self._ends = False
        # A daemon: one that waits for a reader must not keep the process alive.
        self._thread = threading.Thread(target=self._run, name="log writer", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        gather = threading.Event()  # never set
        while not (self._ends and not self._lines):
            self._come.wait()
            if not self._ends:
                gather.wait(_GATHER_SECONDS)  # so that a busy server writes many lines at once
            self._come.clear()
            while self._lines:
                self._write([self._lines.popleft() for _ in range(min(len(self._lines), _MOST_AT_ONCE))])

    def _write(self, lines: list[str]) -> None:
        lost = self.dropped - self._told
        note = f"{lost} log lines were dropped: nobody took them\n" if lost else ""
        rest = (note + "".join(lines)).encode("utf-8", "backslashreplace")
        while rest:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:  # the descriptor is shared with someone who does not want to wait
                poller = select.poll()
                poller.register(self._descriptor, select.POLLOUT)
                poller.poll(1000)
            except OSError:  # full, closed, or nobody reads; it may be better when the next lines come
                self.dropped += len(lines)
                return
        self._told += lost
