"""Markdown for the summary of a CI run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from specserve.conformance.statuses import MEANING, Status

_TOLD = (Status.ERROR, Status.FAIL, Status.SILENT, Status.INCONCLUSIVE, Status.WARN)


def summary(document: Mapping[str, Any]) -> str:
    """The verdict, the counts, and what is wrong."""
    target, spent = document["target"], document["spent"]
    lines = [
        f"# {document['verdicts']['strict'].capitalize()}: {target['base_url']}",
        "",
        f"- strict (the contract): **{document['verdicts']['strict']}**",
        f"- sdk (what official clients need): **{document['verdicts']['sdk']}**",
        f"- model `{target['model']}`, embedding model `{target['embedding_model']}`",
        f"- profiles {', '.join(target['profiles'])}",
        f"- {spent['requests']} requests in {document['seconds']:.1f} s, {spent['billable_requests']} of them billable",
        f"- at most {spent['worst_case_tokens']} tokens; the server reported {spent['reported_tokens']}",
        f"- kit {document['kit']['version']}, contract `{document['kit']['spec_sha256'][:12]}`, {document['started']}",
        "",
        "| Status | Requirements | Meaning |",
        "| --- | ---: | --- |",
    ]
    lines += [
        f"| {s.value} | {document['counts'][s.value]} | {MEANING[s]} |" for s in Status if document["counts"][s.value]
    ]
    for status in _TOLD:
        rows = [row for row in document["requirements"] if row["status"] == status]
        if rows:
            lines += ["", f"## {status.value}", ""]
            lines += [f"- `{row['id']}` {_cell(row['text'])}{_first(row)}" for row in rows]
    return "\n".join(lines) + "\n"


def _first(row: dict[str, Any]) -> str:
    if not row["findings"]:
        return f" *{_cell(row['reason'])}*" if row["reason"] else ""
    finding = row["findings"][0]
    return f" Expected {_cell(finding['expected'])}; found `{_cell(finding['actual'])[:120]}` ({finding['exchange']})."


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").replace("`", "'").split())
