"""Runs one benchmark by its name: ``tox run -e benchmarks -- NAME [OPTIONS]``."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
NAMES = ("http_layer", "engine", "gateway", "server_tax", "growth", "precision", "page")


def main() -> None:
    """Run the benchmark that the first argument names, with the others."""
    if len(sys.argv) < 2 or sys.argv[1] not in NAMES:
        raise SystemExit(f"which one? {', '.join(NAMES)}")
    sys.path.insert(0, str(HERE))
    name = sys.argv.pop(1)
    sys.argv[0] = name
    runpy.run_path(str(HERE / f"{name}.py"), run_name="__main__")


if __name__ == "__main__":
    main()
