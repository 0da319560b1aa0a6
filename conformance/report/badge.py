"""A badge for shields.io (endpoint format)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_COLOURS = {"conformant": "brightgreen", "not conformant": "red", "inconclusive": "yellow", "kit error": "lightgrey"}


def badge(document: Mapping[str, Any]) -> dict[str, Any]:
    """How many requirements were met of those that were judged, and the verdict."""
    counts = document["counts"]
    judged = sum(counts[name] for name in ("PASS", "WARN", "FAIL", "SILENT"))
    passed = counts["PASS"] + counts["WARN"]
    verdict = document["verdicts"]["strict"]
    profiles = "+".join(document["target"]["profiles"])
    return {
        "schemaVersion": 1,
        "label": f"OpenAI API ({profiles})",
        "message": f"{verdict} {passed}/{judged}",
        "color": _COLOURS.get(verdict, "lightgrey"),
    }
