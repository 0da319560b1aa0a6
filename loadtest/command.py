"""What ``specserve load`` does. Importing it changes the process, as locust does."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from rich.console import Console

from specserve.loadtest import calibration, report
from specserve.loadtest.engine import NotReady, quiet, with_page
from specserve.loadtest.plan import Plan
from specserve.loadtest.prompts import BadDataset
from specserve.loadtest.report import document as documents
from specserve.loadtest.report import terminal
from specserve.loadtest.report.html import ms
from specserve.loadtest.run import Run, Runs, Unreachable, learn, make_prompts

__all__ = ["BadDataset", "calibrate", "run"]

_INCONCLUSIVE = 3


def run(plan: Plan, folder: Path | None, page: int | None, *, calibrate: bool) -> int:
    """Run a plan and tell what came of it.

    Args:
        plan: What to do.
        folder: Where reports go, if anywhere.
        page: The port of locust's page, if it shall be served.
        calibrate: Whether to measure our own error afterwards.

    Returns:
        The exit code.
    """
    quiet()
    console = Console()
    progress = terminal.Progress(console)
    prompts = make_prompts(plan)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)  # rather now than after the run
    try:
        prompts = learn(plan, prompts)
        runs = Runs(plan, prompts, progress.tell, progress.watch, calibrate=calibrate)
    except Unreachable as error:
        console.print(f"inconclusive: {error}", style="yellow", highlight=False, soft_wrap=True)
        return _INCONCLUSIVE
    code = 0
    try:
        if page is None:
            code = _tell(runs.once(), folder, progress, console)
        else:
            with_page(runs.engine, page)
            console.print(f"press Start at http://127.0.0.1:{page} (Ctrl-C ends)", highlight=False)
            with suppress(KeyboardInterrupt):
                while True:
                    code = _tell(runs.next_of_page(), folder, progress, console)
    except NotReady as error:
        console.print(f"inconclusive: {error}", style="yellow", highlight=False)
        return _INCONCLUSIVE
    finally:
        progress.close()
        runs.engine.close()
    return code


def calibrate(plan: Plan) -> int:
    """Measure our own error at the load of a plan; 0 if it is as small as it should be, else 1."""
    quiet()
    console = Console()
    result = calibration.measure(plan, first=0.05, gap=0.02)
    pace = result["pace"]
    console.print(
        f"{result['load']:g} {result['unit']} on a stub: first token after {ms(pace['first'])} ms, then every "
        f"{ms(pace['gap'])} ms; {result['chunks_per_s']:.0f} chunks/s, {result['requests']} requests",
        highlight=False,
        soft_wrap=True,
    )
    for name in ("first_token", "gap"):
        row = result[name]
        if row:
            console.print(
                f"error of {name:11}  p50 {ms(row['p50'])} ms  p99 {ms(row['p99'])} ms  max {ms(row['max'])} ms  "
                f"({row['count']})",
                highlight=False,
            )
    lag = result["generator"]["schedule_lag"]
    if lag:
        console.print(f"schedule lag          p50 {ms(lag['p50'])} ms  p99 {ms(lag['p99'])} ms", highlight=False)
    allowed = result["allowed"]
    console.print(
        f"{'within' if result['within'] else 'NOT within'} {ms(allowed['p50'])} ms in the median and "
        f"{ms(allowed['p99'])} ms in p99",
        highlight=False,
    )
    return 0 if result["within"] else 1


def _tell(result: Run, folder: Path | None, progress: terminal.Progress, console: Console) -> int:
    progress.close()
    document = documents.make(result)
    terminal.tell(document, console)
    if folder is not None:
        report.write(document, result.records, folder)
        console.print(f"report: {folder / 'report.html'}", highlight=False, soft_wrap=True)
    return result.exit_code
