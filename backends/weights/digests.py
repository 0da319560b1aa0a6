"""The hashes of files of models, computed once and again only when a file may have changed.

Size and time of change are not enough to tell: they can be set. The kernel's own time of the last change of the inode,
and the inode's number, cannot; where they and the rest are as they were, the recorded hash counts. Hashing takes about
a second for a gigabyte.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from specserve.backends.weights.cache import cache_dir

_log = logging.getLogger("specserve.models")

Stamp = list[int]


def stamp(path: Path) -> Stamp:
    """What is different as soon as a file was written to, or is another one."""
    facts = path.stat()
    return [facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino]


def digest(path: Path) -> str:
    """The hash of a file's content; reads it whole."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_id(files: Sequence[Path]) -> str:
    """Sixteen hexadecimal digits that stand for the contents of files, and their names.

    The hashes are recorded in the cache directory. A file whose content is another one than recorded is told in the
    log: what was made of it before is not what it is now.

    Raises:
        OSError: A file cannot be read.
    """
    whole = hashlib.sha256()
    for path in files:
        whole.update(f"{path.name}|{_recorded(path.resolve())}|".encode())
    return whole.hexdigest()[:16]


def _recorded(path: Path) -> str:
    record = cache_dir() / "digests" / f"{hashlib.sha256(str(path).encode()).hexdigest()[:32]}.json"
    known = _read(record)
    now = stamp(path)
    if known is not None and known[0] == now:
        return known[1]
    found = digest(path)
    if known is not None and known[1] != found:
        _log.warning("%s has another content than when it was last opened; what was made of it is made anew", path)
    if stamp(path) == now:  # else it is being written to
        with contextlib.suppress(OSError):  # a cache that cannot be written to: it is hashed each time
            write_json(record, {"path": str(path), "stamp": now, "sha256": found})
    return found


def _read(record: Path) -> tuple[Stamp, str] | None:
    try:
        found = json.loads(record.read_bytes())
        return list(found["stamp"]), str(found["sha256"])
    except (OSError, ValueError, TypeError, KeyError):
        return None


def write_json(path: Path, content: object) -> None:
    """Write a small file whole or not at all.

    Raises:
        OSError: It cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(content, file)
        Path(draft).replace(path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise
