"""The run in a terminal: one line while it runs, and a summary that fits a screen."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from specserve.loadtest.client import clock
from specserve.loadtest.report.html import ms, number
from specserve.loadtest.statistics import percentile

if TYPE_CHECKING:
    from specserve.loadtest.conductor import Conductor

_COLOURS = {"met": "green", "measured": "green", "missed": "red", "inconclusive": "yellow"}
_TIMES = ("ttft\np50", "ttft\np99", "itl\np50", "e2e\np50")


class Progress:
    """What happens, on a line that is written over; in a file or a log, a line a stage."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status = console.status("") if console.is_terminal else None
        self._text = ""

    def tell(self, text: str) -> None:
        """Say what begins."""
        self._text = text
        if self._status is None:
            self._console.print(text, highlight=False)
        else:
            self._status.start()
            self._status.update(text)

    def watch(self, conductor: Conductor) -> None:
        """Say how it goes."""
        if self._status is None or not conductor.records:
            return
        record = conductor.records[-1]
        left = max(record.end - clock(), 0)
        phase = "warm-up" if clock() < record.measured else (f"{left:.0f} s left" if left else "waiting for the last")
        first = f", first token {ms(percentile(sorted(conductor.recent), 0.5))} ms" if conductor.recent else ""
        failed = f", [red]{conductor.failed} failed[/red]" if conductor.failed else ""
        self._status.update(
            f"{self._text}, {phase}: {sum(conductor.in_flight.values())} in flight, {conductor.succeeded} done"
            f"{failed}{first}"
        )

    def close(self) -> None:
        """Take the line away."""
        if self._status is not None:
            self._status.stop()


def tell(document: Mapping[str, Any], console: Console) -> None:
    """Print the summary."""
    plan, stages = document["plan"], document["stages"]
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in (
        plan["unit"].replace("requests", "req"),
        "done\n/s",
        "tokens\n/s",
        "a user\n/s",
        *_TIMES,
        "failed",
        "",
    ):
        table.add_column(name, justify="right", no_wrap=True)
    for stage in _shown(stages):
        latency, rates, requests = stage["latency"], stage["rates"], stage["requests"]
        first, gap, whole = (latency.get(name) or {} for name in ("ttft_token", "itl", "e2e"))
        speed = stage["user_tokens_per_s"]
        word = (
            "good" if stage["good"] else ("doubtful" if stage["doubts"] else "saturated" if stage["saturated"] else "")
        )
        table.add_row(
            number(stage["load"]),
            number(rates["completed_per_s"]),
            number(rates["output_tokens_per_s"]),
            number(speed["p50"] if speed else None),
            ms(first.get("p50")),
            ms(first.get("p99")),
            ms(gap.get("p50")),
            ms(whole.get("p50")),
            str(requests["failed"] + requests["not_sent"]),
            word,
        )
    console.print(f"{plan['loop']} loop, times in ms; seed {plan['seed']}", style="dim", highlight=False)
    if stages:
        console.print(table)
    for stage in stages:
        for row in stage["objectives"]:
            if row["status"] != "met":
                colour = "red" if row["status"] == "missed" else "yellow"
                value = "" if row["value"] is None or math.isnan(row["value"]) else f": {row['value']:.4g}"
                console.print(
                    f"{stage['load']:g} {stage['unit']}: {row['objective']} {row['status']}{value}",
                    style=colour,
                    highlight=False,
                )
    errors: dict[str, int] = {}
    for stage in stages:
        for name, count in stage["requests"]["errors"].items():
            errors[name] = errors.get(name, 0) + count
    if errors:
        console.print("failures: " + ", ".join(f"{count} {name}" for name, count in errors.items()), highlight=False)
    calibration = document["calibration"]
    if calibration and calibration["first_token"] and calibration["gap"]:
        console.print(
            f"our own error: first token {ms(calibration['first_token']['p50'])} ms, p99 "
            f"{ms(calibration['first_token']['p99'])}; gaps {ms(calibration['gap']['p50'])} ms, p99 "
            f"{ms(calibration['gap']['p99'])}",
            style="dim" if calibration["within"] else "yellow",
            highlight=False,
        )
    if document["stopped"]:
        console.print(f"ended early: {document['stopped']}", style="yellow", highlight=False)
    knee = f", knee at {number(document['knee'])} {plan['unit']}" if document["knee"] and len(stages) > 1 else ""
    console.print(f"[{_COLOURS[document['verdict']]}]{document['verdict']}[/]{knee}", highlight=False)
    for reason in document["reasons"][:5]:
        console.print(f"  {reason}", highlight=False)


def _shown(stages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Stages by load, as many as leave room for the rest."""
    return sorted(stages, key=lambda stage: stage["load"])[:12]
