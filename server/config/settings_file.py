"""Reads the settings file, without ever waiting for ever or filling the memory."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_MOST_BYTES = 1 << 20


def read_file(path: Path, *, regular: bool = False) -> str:
    """Read the file.

    Args:
        path: Where it is. At start it may be a pipe, as of a shell's ``<(...)``.
        regular: Whether it must be a regular file: reading anything else may wait for ever.

    Raises:
        OSError: It cannot be read, is larger than 1 MiB, or is not a regular file; `strerror` says which.
        UnicodeDecodeError: It is not UTF-8.
    """
    flags = os.O_RDONLY | (getattr(os, "O_NONBLOCK", 0) if regular else 0)
    descriptor = os.open(path, flags)
    with os.fdopen(descriptor, "rb") as file:
        if regular and not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(0, "it is not a regular file")
        data = file.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise OSError(0, f"it has more than {_MOST_BYTES} bytes")
    return data.decode()
