"""What docs/peers.md says, from the results of the runs and from what was read by hand."""

import json
import subprocess
import sys
from pathlib import Path

import yaml

PAGE = Path("docs", "peers.md")
BEGIN, END = "<!-- measured: made by `tox run -e peers` -->\n", "<!-- measured: end -->\n"
BROKEN = ("FAIL", "SILENT")
CONFIRMED = Path(__file__).with_name("confirmed.yaml")


def confirmed():
    """Of each peer, what was read by hand against the contract: the requirement and what was seen."""
    return yaml.safe_load(CONFIRMED.read_text(encoding="utf-8"))


def broken(document):
    return {row["id"]: row for row in document["requirements"] if row["status"] in BROKEN}


def text(documents, versions, folder):
    """The measured part.

    Args:
        documents: `results.json` of each server, by name.
        versions: What each server is.
        folder: Where the results lie, each in a folder of the server's name.
    """
    lines = ["", "| | Server | Profiles | Requests | Seconds |", "| --- | --- | --- | ---: | ---: |"]
    for name, document in documents.items():
        profiles = ", ".join(document["target"]["profiles"])
        told = f"{document['spent']['requests']} | {document['seconds']:.0f}"
        lines.append(f"| {name} | {versions[name]} | {profiles} | {told} |")
    files = [str(folder / name / "results.json") for name in documents]
    table = subprocess.run(
        [sys.executable, "-m", "specserve", "conform", "compare", *files], check=True, capture_output=True, text=True
    )
    # A free port of this machine says nothing.
    lines += ["", "## Matrix", ""]
    lines += [line for line in table.stdout.splitlines() if not line.startswith("| address ")]
    lines += ["", "## Read by hand", ""]
    lines += ["Each FAIL and SILENT, repeated or read in the recorded exchange, and held against its clause.", ""]
    for name, notes in confirmed().items():
        if name in documents:
            lines += [f"### {name}", "", *_read(broken(documents[name]), notes), ""]
    return "\n".join(lines)


def _read(rows, notes):
    yield "| Requirement | Request | Found | Clause | Note |"
    yield "| --- | --- | --- | --- | --- |"
    for identifier, row in rows.items():
        finding = row["findings"][0]
        others = len(row["findings"]) - 1 + row["findings_left_out"]
        request = finding["exchange"] + (f" and {others} more" if others else "")
        found = " ".join(f"{finding['place']} {finding['actual']}".replace("|", "\\|").replace("`", "'").split())
        found = found if len(found) < 100 else f"{found[:97]}..."
        yield (
            f"| `{identifier}` | {request} | {row['status']}: `{found}` | `{row['pointer']}` "
            f"| {notes.get(identifier, '**not read yet**')} |"
        )


def write(names, folder):
    """Put what was measured in its place."""
    documents = {name: json.loads((folder / name / "results.json").read_text(encoding="utf-8")) for name in names}
    versions = {name: (folder / name / "version.txt").read_text(encoding="utf-8") for name in names}
    measured = text(documents, versions, folder)
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(before + BEGIN + measured.rstrip("\n") + "\n\n" + END + after, encoding="utf-8")
