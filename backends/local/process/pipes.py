"""How a process of ours talks to the server that started it: lines of JSON on what were its standard streams.

The server first says what to open; the process answers ``{"ready": true, ...}`` or ``{"failed": why}``. The rest is
between the two, but end of input ends the process.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping
from typing import IO


def begin() -> IO[bytes]:
    """Leave signals to the server and take standard output for replies.

    What libraries print goes to standard error from here on.
    """
    # Ctrl-C and a service manager signal the whole group; when to stop is the server's decision.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return replies


def send(replies: IO[bytes], message: Mapping[str, object]) -> None:
    """Send one message, now."""
    replies.write(json.dumps(message, separators=(",", ":")).encode() + b"\n")
    replies.flush()


def short(error: BaseException) -> str:
    """The last line of an error that says something; the libraries put source paths in front."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:500]
