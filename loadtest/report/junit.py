"""JUnit XML: an objective of a stage is a case."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree as ET

# What XML 1.0 cannot hold, not even escaped.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(document: Mapping[str, Any]) -> str:
    """A suite a stage; a stage that cannot be trusted is an error, an objective that was missed a failure."""
    root = ET.Element("testsuites", name="specserve load", time=str(document["seconds"]))
    for stage in document["stages"]:
        _suite(root, document, stage)
    if not document["stages"]:
        suite = ET.SubElement(root, "testsuite", name="run", tests="1", failures="0", errors="1", skipped="0")
        case = ET.SubElement(suite, "testcase", classname="load", name="run", time="0")
        ET.SubElement(case, "error", message=_clean("; ".join(document["reasons"])))
    for counter in ("tests", "failures", "errors", "skipped"):
        root.set(counter, str(sum(int(suite.get(counter, "0")) for suite in root)))
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _suite(root: ET.Element, document: Mapping[str, Any], stage: Mapping[str, Any]) -> None:
    name = f"{stage['load']:g} {stage['unit']}"
    suite = ET.SubElement(root, "testsuite", name=name, timestamp=document["started"])
    properties = ET.SubElement(suite, "properties")
    for key, value in (("target", document["target"]["base_url"]), ("model", document["target"]["model"])):
        ET.SubElement(properties, "property", name=key, value=_clean(value))
    failures = errors = 0
    trusted = ET.SubElement(suite, "testcase", classname=f"load.{name}", name="figures can be trusted", time="0")
    if stage["doubts"]:
        errors += 1
        ET.SubElement(trusted, "error", message=_clean("; ".join(stage["doubts"])))
    for row in stage["objectives"]:
        case = ET.SubElement(suite, "testcase", classname=f"load.{name}", name=_clean(row["objective"]), time="0")
        text = f"found {row['value']}, threshold {row['threshold']} {row['reason']}".strip()
        if row["status"] == "missed":
            failures += 1
            ET.SubElement(case, "failure", type="missed", message=_clean(text))
        elif row["status"] == "undecided":
            errors += 1
            ET.SubElement(case, "error", type="undecided", message=_clean(text))
    counts = {"tests": 1 + len(stage["objectives"]), "failures": failures, "errors": errors, "skipped": 0}
    for key, count in counts.items():
        suite.set(key, str(count))


def _clean(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)
