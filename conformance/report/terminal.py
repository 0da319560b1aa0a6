"""What a person sees while it runs, and one screen at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

STYLE = {
    "PASS": "green",
    "FAIL": "bold red",
    "SILENT": "bold red",
    "ERROR": "bold magenta",
    "WARN": "yellow",
    "INCONCLUSIVE": "yellow",
    "NOT_RUN": "yellow",
    "UNSUPPORTED": "cyan",
    "SKIP": "dim",
}
_TOLD = ("ERROR", "FAIL", "SILENT", "INCONCLUSIVE", "NOT_RUN", "WARN", "UNSUPPORTED")
_SCREEN = 24
_FRAME = 7


@contextmanager
def progress(console: Console) -> Iterator[Callable[[str, int, int], None]]:
    """A bar on a terminal; nothing where there is none."""
    columns = (TextColumn("{task.description:32.32}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("connecting", total=None)

        def show(name: str, number: int, total: int) -> None:
            bar.update(task, description=name, completed=number, total=total)

        yield show


def tell(document: Mapping[str, Any], console: Console) -> None:
    """The verdict and, as far as a screen holds them, what is wrong: gravest first, one line each."""
    counts, spent = document["counts"], document["spent"]
    lines = _told(document)
    room = max(5, min(_SCREEN, console.height or _SCREEN) - _FRAME)
    if lines:
        table = Table(box=None, show_header=False, padding=(0, 1), expand=True)
        table.add_column(no_wrap=True)
        widest = max(len(name) for _, name, _ in lines[:room])
        table.add_column(no_wrap=True, overflow="ellipsis", width=min(widest, console.width * 2 // 5))
        table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        for status, name, why in lines[:room]:
            table.add_row(Text(status, style=STYLE[status]), Text(name), Text(why))
        console.print(table)
        if len(lines) > room:
            console.print(Text(f" ... and {len(lines) - room} more lines, in the report", style="dim"))
        console.print()
    parts = [Text(f"{name} {counts[name]}", style=STYLE[name]) for name in STYLE if counts[name]]
    console.print(Text("  ").join(parts))
    console.print(
        f"{spent['requests']} requests, {spent['billable_requests']} billable,"
        f" at most {spent['worst_case_tokens']} tokens in {document['seconds']:.1f} s;"
        f" model {document['target']['model'] or 'unknown'};"
        f" profiles {', '.join(document['target']['profiles'])}",
        highlight=False,
    )
    for name, what in (("strict", "the contract"), ("sdk", "official clients")):
        verdict = document["verdicts"][name]
        style = "bold green" if verdict == "conformant" else "bold red" if verdict.startswith("not") else "bold yellow"
        console.print(Text(f"{name} ({what}): ").append(verdict, style=style))


def _told(document: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """One line a requirement; those that one obstacle stopped share a line."""
    lines: dict[tuple[str, str], list[str]] = {}
    for status in _TOLD:
        for row in document["requirements"]:
            if row["status"] == status:
                finding = row["findings"][0] if row["findings"] else None
                why = _why(finding) if finding else row["reason"]
                key = (status, row["id"] if finding else why)
                lines.setdefault(key, [why]).append(row["id"])
    return [
        (status, ids[0] if len(ids) == 1 else f"{ids[0]} and {len(ids) - 1} more", " ".join(why.split()))
        for (status, _), (why, *ids) in lines.items()
    ]


def _why(finding: Mapping[str, Any]) -> str:
    if finding["place"]:
        return f"{finding['place']}: found {finding['actual']}"  # that the schema asks for something else is no news
    return f"{finding['expected']}; found {finding['actual']}"
