"""Conversions that are kept: each is a folder that is whole and sealed, or not there.

A conversion is made in a folder beside its place, sealed, and renamed. The seal records size, times, inode and hash of
each file. What a killed process left is never used, and removed before the next conversion; what was damaged later is
noticed by the seal, put away, and made again.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from specserve.backends.weights.digests import digest, stamp, write_json

SEAL = ".sealed.json"

_log = logging.getLogger("specserve.models")


def keep(target: Path, make: Callable[[Path], None]) -> Path:
    """The folder of a conversion, made now unless it is there and as it was made. Blocks, for minutes.

    One process makes it at a time; another waits, and takes what the first has made.

    Args:
        target: The folder.
        make: Fills the empty folder that it is given. What it puts beside that folder is removed.

    Raises:
        OSError: Something cannot be written. What `make` raises is passed on, and leaves nothing.
    """
    from filelock import FileLock

    if is_whole(target):
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.parent / f".{target.name}.lock"):
        if is_whole(target):
            return target
        for left_over in target.parent.glob(f".{target.name}.tmp-*"):  # by a process that was killed
            shutil.rmtree(left_over, ignore_errors=True)
        work = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.tmp-"))
        try:
            made = work / "made"
            made.mkdir()
            make(made)
            seal(made)
            if target.exists():
                _log.warning("%s is damaged; it is put away, and was made again", target)
                target.rename(work / "damaged")
            made.rename(target)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return target


def seal(folder: Path) -> None:
    """Record what is in a folder, once all of it is on the disk."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != SEAL)
    for path in files:
        with path.open("rb") as file:
            os.fsync(file.fileno())
    write_json(folder / SEAL, {str(path.relative_to(folder)): [digest(path), stamp(path)] for path in files})


def is_whole(folder: Path) -> bool:
    """Whether a folder is as it was sealed. Reads its files only if they may have changed, as by being copied."""
    try:
        sealed = dict(json.loads((folder / SEAL).read_bytes()))
        moved = {name for name, (_, its_stamp) in sealed.items() if stamp(folder / name) != its_stamp}
        if any(digest(folder / name) != sealed[name][0] for name in moved):
            return False
    except (OSError, ValueError, TypeError):
        return False
    if moved:
        with contextlib.suppress(OSError):  # a cache that cannot be written to: it is hashed each time
            write_json(folder / SEAL, {name: [its, stamp(folder / name)] for name, (its, _) in sealed.items()})
    return bool(sealed)
