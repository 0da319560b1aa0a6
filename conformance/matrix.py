"""One table of several servers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def matrix(documents: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str:
    """Markdown: the verdicts and counts of each, then every requirement on which they differ or that one breaks."""
    by_server = [{row["id"]: row for row in document["requirements"]} for document in documents]
    lines = ["| | " + " | ".join(names) + " |", "| --- " * (len(names) + 1) + "|"]
    lines += [
        "| address | " + " | ".join(document["target"]["base_url"] for document in documents) + " |",
        "| model | " + " | ".join(document["target"]["model"] for document in documents) + " |",
        "| kit, contract | "
        + " | ".join(f"{d['kit']['version']}, {d['kit']['spec_sha256'][:12]}" for d in documents)
        + " |",
        "| when | " + " | ".join(document["started"] for document in documents) + " |",
        "| **strict** | " + " | ".join(f"**{document['verdicts']['strict']}**" for document in documents) + " |",
        "| **sdk** | " + " | ".join(f"**{document['verdicts']['sdk']}**" for document in documents) + " |",
    ]
    for status in documents[0]["counts"]:
        lines.append(
            f"| {status} | " + " | ".join(str(document["counts"].get(status, 0)) for document in documents) + " |"
        )
    lines += ["", "| Requirement | Level | " + " | ".join(names) + " |", "| --- " * (len(names) + 2) + "|"]
    for identifier in dict.fromkeys(name for rows in by_server for name in rows):
        rows = [server.get(identifier) for server in by_server]
        statuses = [row["status"] if row else "-" for row in rows]
        if set(statuses) - {"PASS"} and set(statuses) != {"SKIP"}:
            level = next(row["level"] for row in rows if row)
            lines.append(f"| {identifier} | {level} | " + " | ".join(statuses) + " |")
    return "\n".join(lines) + "\n"
