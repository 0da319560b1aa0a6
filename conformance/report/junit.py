"""JUnit XML with real child elements: tools that count elements must not see green where there is none."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import groupby
from typing import Any
from xml.etree import ElementTree as ET

from specserve.conformance.statuses import Status

_FAILURE = {Status.FAIL, Status.SILENT}
_ERROR = {Status.ERROR, Status.INCONCLUSIVE}
_SKIPPED = {Status.SKIP, Status.NOT_RUN, Status.UNSUPPORTED}

# What XML 1.0 cannot hold, not even escaped.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(document: Mapping[str, Any]) -> str:
    """One suite a family, one case a requirement."""
    root = ET.Element("testsuites", name="specserve conform", time=str(document["seconds"]))
    for family, rows in groupby(document["requirements"], key=lambda row: row["family"]):
        _suite(root, family, list(rows), document)
    for counter in ("tests", "failures", "errors", "skipped"):
        root.set(counter, str(sum(int(suite.get(counter, "0")) for suite in root)))
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _suite(root: ET.Element, family: str, rows: list[dict[str, Any]], document: Mapping[str, Any]) -> None:
    suite = ET.SubElement(root, "testsuite", name=family, timestamp=document["started"], tests=str(len(rows)))
    properties = ET.SubElement(suite, "properties")
    for name, value in (
        ("target", document["target"]["base_url"]),
        ("model", document["target"]["model"]),
        ("kit_version", document["kit"]["version"]),
        ("spec_sha256", document["kit"]["spec_sha256"]),
        ("verdict_strict", document["verdicts"]["strict"]),
        ("verdict_sdk", document["verdicts"]["sdk"]),
    ):
        ET.SubElement(properties, "property", name=name, value=_clean(str(value)))
    counts = {"failures": 0, "errors": 0, "skipped": 0}
    for row in rows:
        case = ET.SubElement(suite, "testcase", classname=f"conformance.{family}", name=row["id"], time="0")
        status = Status(row["status"])
        text = _clean(_text(row))
        head = _clean(row["reason"] or row["text"])
        if status in _FAILURE:
            counts["failures"] += 1
            ET.SubElement(case, "failure", type=status.value, message=head).text = text
        elif status in _ERROR:
            counts["errors"] += 1
            ET.SubElement(case, "error", type=status.value, message=head).text = text
        elif status in _SKIPPED:
            counts["skipped"] += 1
            ET.SubElement(case, "skipped", message=f"{status.value}: {head}")
        elif status is Status.WARN:
            ET.SubElement(case, "system-out").text = f"WARN\n{text}"
    for name, count in counts.items():
        suite.set(name, str(count))


def _text(row: dict[str, Any]) -> str:
    lines = [row["text"], f"See {row['pointer']}"]
    lines += [f"{it['exchange']}: expected {it['expected']}; found {it['actual']}" for it in row["findings"]]
    return "\n".join(lines)


def _clean(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)
