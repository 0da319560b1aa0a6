"""One self-contained page for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup

from specserve.loadtest.metrics import StageRecord
from specserve.loadtest.report.plots import plots
from specserve.loadtest.slo import least_samples

_ROWS = (
    ("ttft_token", "First token"),
    ("ttft_event", "First event"),
    ("itl", "Gap between chunks"),
    ("tpot", "Time per output token"),
    ("e2e", "End to end"),
    ("tail", "Last token to [DONE]"),
    ("connect", "Opening a connection"),
    ("ttft_token_scheduled", "First token, since scheduled"),
    ("e2e_scheduled", "End to end, since scheduled"),
)
_COLUMNS = ("p50", "p90", "p95", "p99", "max")


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["ms"] = ms
    environment.filters["number"] = number
    return environment.from_string(files("specserve.loadtest.report").joinpath("page.html.jinja").read_text("utf-8"))


def html(document: Mapping[str, Any], records: Sequence[StageRecord]) -> str:
    """Render the page."""
    return _template().render(
        document=document,
        plots=[(caption, Markup(svg)) for caption, svg in plots(document, records)],  # noqa: S704  # our own drawing
        rows=_ROWS,
        columns=_COLUMNS,
        few=few,
    )


def few(statistic: str, figures: Mapping[str, Any]) -> bool:
    """Whether a percentile rests on fewer than ten samples beyond it."""
    return statistic != "max" and figures["count"] < 10 * least_samples(statistic)


def ms(seconds: float | None) -> str:
    """Seconds as milliseconds, with as many digits as mean something."""
    if seconds is None:
        return "-"
    value = seconds * 1000
    return f"{value:,.0f}" if value >= 1000 else (f"{value:.1f}" if value >= 10 else f"{value:.2f}")


def number(value: float | None) -> str:
    """A number for reading."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
