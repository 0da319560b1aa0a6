"""Write a run down: for programs, for CI, for people. All of it is made from one document."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from specserve.conformance.report.badge import badge
from specserve.conformance.report.html import html
from specserve.conformance.report.junit import junit
from specserve.conformance.report.summary import summary


def write(document: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write all reports into a folder, which is made if it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        "results.json": json.dumps(document, indent=2, ensure_ascii=False) + "\n",
        "junit.xml": junit(document),
        "report.html": html(document),
        "summary.md": summary(document),
        "badge.json": json.dumps(badge(document), indent=2) + "\n",
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8", errors="backslashreplace")
    return [folder / name for name in texts]
