"""Write a run down: for programs, for CI, for people. All of it is made from one document and the samples."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from specserve.loadtest.metrics import StageRecord
from specserve.loadtest.report import tables
from specserve.loadtest.report.html import html
from specserve.loadtest.report.junit import junit


def write(document: Mapping[str, Any], records: Sequence[StageRecord], folder: Path) -> list[Path]:
    """Write all reports into a folder, which is made if it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        "results.json": json.dumps(document, indent=2, ensure_ascii=False) + "\n",
        "stages.csv": tables.stages(document),
        "requests.jsonl": "".join(tables.requests(records)),
        "junit.xml": junit(document),
        "report.html": html(document, records),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8", errors="backslashreplace")
    return [folder / name for name in texts]
