"""Two or more servers, asked in turns in one run: what comes out is ratios, since machines are noisy."""

from __future__ import annotations

import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

RESULTS = Path(__file__).resolve().parent.parent / "docs" / "performance"
_PATIENCE = 120.0
_OF_INTEREST = {"avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_bf16", "amx_int8"}


@dataclass(frozen=True)
class Spread:
    """Several figures of the same thing: the one in the middle, the least and the most."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, figures: Sequence[float]) -> Spread:
        """Of at least one figure."""
        return cls(statistics.median(figures), min(figures), max(figures))

    def __format__(self, spec: str) -> str:
        return f"{self.median:{spec}} ({self.least:{spec}} to {self.most:{spec}})"


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """Ours over theirs, round by round: the two figures of a round were taken one right after the other."""
    return Spread.of([a / b for a, b in zip(ours, theirs, strict=True)])


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def server(command: Sequence[str], port: int, *, core: int | None = None, **environ: str) -> Iterator[int]:
    """Run a server until it listens, give its process id, and end it.

    Args:
        command: What to run.
        port: Where it will listen.
        core: The processor it is bound to, where the system can do that.
        environ: Variables beside ours.
    """
    # A session of its own, so that what it starts ends with it.
    process = subprocess.Popen(
        list(command),
        env={**os.environ, **environ},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    bind_to_core(core, process.pid)
    try:
        until = time.monotonic() + _PATIENCE
        while not _listens(port):
            if process.poll() is not None:
                raise SystemExit(f"{command[0]} ended with code {process.returncode}")
            if time.monotonic() > until:
                raise SystemExit(f"{command[0]} did not begin to listen")
            time.sleep(0.1)
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def bind_to_core(core: int | None, pid: int = 0) -> None:
    """Bind a process, by default this one, to one processor; nothing where that cannot be done."""
    if core is not None and hasattr(os, "sched_setaffinity") and (os.cpu_count() or 1) > core:
        os.sched_setaffinity(pid, {core})


def processor_seconds(pid: int) -> float:
    """What a process and its children have used so far."""
    whole = psutil.Process(pid)
    times = [process.cpu_times() for process in (whole, *whole.children(recursive=True))]
    return sum(each.user + each.system for each in times)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = [line.partition(":") for line in cpuinfo.read_text().splitlines()] if cpuinfo.exists() else []
    told = {name.strip(): value.strip() for name, _, value in reversed(lines)}
    return {
        "processor": told.get("model name") or platform.processor(),
        "instructions": sorted(_OF_INTEREST & set(told.get("flags", "").split())),
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def _command() -> str:
    """How to repeat it; where programs lie is nobody's business."""
    program, *words = sys.argv
    words = [Path(word).name if word.startswith("/") else word for word in words]
    return " ".join(["tox run -e benchmarks --", Path(program).stem, *words])


def read(name: str) -> dict[str, Any]:
    """What a run left, by the name under which it was written."""
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return found


def write(name: str, found: dict[str, Any]) -> Path:
    """Keep the figures where the documentation shows them."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"benchmark": name, "command": _command(), **found}, indent=2) + "\n")
    return path
