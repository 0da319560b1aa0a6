"""Progress of long work on standard error: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import shutil
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_SECONDS_BETWEEN_LINES = 5.0


@contextmanager
def report(name: str) -> Iterator[Callable[[str, int, int], None]]:
    """Give a function to call, often, with (what, units done, units in all); units are bytes, 0 in all if unknown."""
    if sys.stderr.isatty():
        from tqdm import tqdm

        # Asked of shutil, because a terminal in a container may say that it has no columns and no rows.
        size = shutil.get_terminal_size()
        columns = min(size.columns, 100) - 1
        with tqdm(desc=name, unit="B", unit_scale=True, ncols=columns, nrows=size.lines, file=sys.stderr) as bar:

            def draw(what: str, done: int, total: int) -> None:
                bar.set_description(f"{name}: {what}", refresh=False)
                bar.total = total or None
                bar.n = done
                bar.refresh()

            yield draw
        return

    last_what, last_time = "", 0.0

    def write(what: str, done: int, total: int) -> None:
        nonlocal last_what, last_time
        now = time.monotonic()
        if what == last_what and now - last_time < _SECONDS_BETWEEN_LINES:
            return
        amount = f" {done / 1e6:.0f} of {total / 1e6:.0f} MB" if total else ""
        sys.stderr.write(f"{name}: {what}{amount}\n")
        sys.stderr.flush()
        last_what, last_time = what, now

    yield write
