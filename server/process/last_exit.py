"""The end of a process that does not end by itself: a thread computes on, or the event loop stands still.

Threads cannot be cancelled, and Python waits for all of them when it ends.
"""

from __future__ import annotations

import os
import select
import signal
import threading

from specserve.telemetry import logs

_KERNEL_SECONDS = 2
"""How much later the kernel ends a process in which not even a timer's thread gets to run."""


def leave_after(seconds: float, status: int, why: str) -> None:
    """End the process at the latest after so many seconds, whatever runs in it. Call it in the main thread.

    Args:
        seconds: How long it has to end by itself.
        status: Its exit status then.
        why: What is said on standard error then, as in "a thread still ran".
    """
    timer = threading.Timer(seconds, leave, [status, why])
    timer.daemon = True
    timer.start()
    if hasattr(signal, "setitimer"):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, seconds + _KERNEL_SECONDS)


def leave(status: int, why: str) -> None:
    """End the process now, threads and all."""
    logs.finish()
    poller = select.poll()
    poller.register(2, select.POLLOUT)
    if any(events & select.POLLOUT for _, events in poller.poll(0)):  # else it would wait for whoever reads it
        os.write(2, f"specserve: {why}\n".encode())
    os._exit(status)
