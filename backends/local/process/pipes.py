"""How a process of ours talks to the server that started it: lines of JSON on what were its standard streams.

The server first says what to open; the process answers ``{"ready": true, ...}`` or ``{"failed": why}``. The rest is
between the two, except that ``{"alive": true}`` may come at any time, and that end of input ends the process.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from typing import IO

from specserve.backends.local.process.environment import HEARTBEAT_VARIABLE, PARENT_VARIABLE

HEARTBEAT = b'{"alive":true}\n'

_PR_SET_PDEATHSIG = 1  # of Linux's prctl
_SERVER_IS_GONE = 3  # exit status

_writing = threading.Lock()


def begin() -> IO[bytes]:
    """Leave signals to the server, end with it, and take standard output for replies.

    What libraries print goes to standard error from here on. If the server wants heartbeats, a thread sends them from
    here on too, whatever the main thread does, except while a library holds Python's global lock.
    """
    # Ctrl-C and a service manager signal the whole group; when to stop is the server's decision.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _end_with_the_server()
    replies = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    seconds = float(os.environ.get(HEARTBEAT_VARIABLE, "0"))
    if seconds:
        threading.Thread(target=_beat, args=(replies, seconds), name="heartbeat", daemon=True).start()
    return replies


def send(replies: IO[bytes], message: Mapping[str, object]) -> None:
    """Send one message, now. Threads may send at the same time."""
    _write(replies, json.dumps(message, separators=(",", ":")).encode() + b"\n")


def short(error: BaseException) -> str:
    """The last line of an error that says something; the libraries put source paths in front."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:500]


def _write(replies: IO[bytes], line: bytes) -> None:
    left = memoryview(line)
    with _writing:
        while left:
            left = left[replies.write(left) :]


def _beat(replies: IO[bytes], seconds: float) -> None:
    while True:
        time.sleep(seconds)
        try:
            _write(replies, HEARTBEAT)
        except OSError:
            os._exit(_SERVER_IS_GONE)


def _end_with_the_server() -> None:
    """Have the kernel end this process when the server is killed, where the kernel can do that.

    End of input ends it everywhere, but only when the step is done that runs just then.
    """
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    parent = os.environ.get(PARENT_VARIABLE)
    if parent is not None and os.getppid() != int(parent):
        os._exit(_SERVER_IS_GONE)  # it was killed before the kernel knew
