"""The three standard streams, which whoever starts a process may have closed."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def ensure() -> None:
    """Put the null device where a standard stream is closed.

    Else the next file or socket that is opened would get its number, and what is written to the stream would go there.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    null = Path(os.devnull)
    if sys.stdout is None:
        sys.stdout = null.open("w", encoding="utf-8")
    if sys.stderr is None:
        sys.stderr = null.open("w", encoding="utf-8")
