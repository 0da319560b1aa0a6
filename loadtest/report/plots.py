"""The plots of the page, as SVG inside of it. Their text is text, in the colour of the page."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from specserve.loadtest.metrics import StageRecord

_INK = "#010203"  # replaced by the page's own colour
_COLOURS = ("#2f7ed8", "#e07b39", "#3a9e6b", "#b65fcf", "#c9a227", "#d64550", "#17a2b8", "#8c6d46")
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "specserve",
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.18,
    "grid.color": _INK,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
}
_MOST_POINTS = 1500

Draw = Callable[[Axes], None]


def plots(document: Mapping[str, Any], records: Sequence[StageRecord]) -> list[tuple[str, str]]:
    """Pairs of a caption and an SVG; those that need more stages or tokens than there are, are left out."""
    stages = [stage for stage in document["stages"] if "ttft_token" in stage["latency"]]
    if not stages:
        return []
    pages: list[tuple[str, Draw]] = []
    unit = document["plan"]["unit"]
    if len(stages) > 1:
        for name, caption in (("ttft_token", "First token"), ("tpot", "Time per output token")):
            chosen = [stage for stage in stages if name in stage["latency"]]
            if chosen:
                pages.append((f"{caption} against load", _against(document, chosen, name, unit)))
        pages.append(("Throughput against load", _throughput(document, stages, unit)))
    chosen_records = [record for record in records if any(stage["index"] == record.index for stage in stages)]
    pages.append(("First token, share of requests", _shares(chosen_records, unit, _first_tokens)))
    pages.append(("Gaps between chunks, share of gaps", _shares(chosen_records, unit, _gaps)))
    pages.append(("Requests over time", _timeline(records)))
    pages.append(("First token over time", _scatter(records)))
    return [(caption, _svg(draw, caption)) for caption, draw in pages]


def _svg(draw: Draw, caption: str) -> str:
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(5.2, 3.1), layout="constrained")
        axes = figure.add_subplot()
        axes.set_prop_cycle(color=_COLOURS)
        draw(axes)
        out = io.StringIO()
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    text = text[text.index("<svg") :].replace(_INK, "currentColor")
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    # Ids must differ between the plots of one page.
    prefix = re.sub(r"\W+", "-", caption.lower())
    text = re.sub(r'\bid="', f'id="{prefix}-', text)
    text = re.sub(r'href="#', f'href="#{prefix}-', text)
    text = re.sub(r"url\(#", f"url(#{prefix}-", text)
    return re.sub(
        r"<svg [^>]*?(viewBox=\"[^\"]*\")[^>]*>", rf'<svg \1 role="img" aria-label="{caption}">', text, count=1
    )


def _knee(axes: Axes, document: Mapping[str, Any]) -> None:
    if document["knee"] is not None:
        axes.axvline(document["knee"], color=_INK, linestyle=":", linewidth=1)
        axes.annotate("knee", (document["knee"], 1), xycoords=("data", "axes fraction"), xytext=(3, -9),
                      textcoords="offset points", fontsize=8)  # fmt: skip


def _against(document: Mapping[str, Any], stages: Sequence[Mapping[str, Any]], name: str, unit: str) -> Draw:
    def draw(axes: Axes) -> None:
        ordered = sorted(stages, key=lambda stage: stage["load"])
        loads = [stage["load"] for stage in ordered]
        for statistic in ("p50", "p95", "p99"):
            axes.plot(loads, [stage["latency"][name][statistic] * 1000 for stage in ordered], marker="o", markersize=4,
                      label=statistic)  # fmt: skip
        for objective in document["plan"]["objectives"]:
            found = re.match(rf"{name}:\w+[<>]=?([\d.]+)(ms|s)$", objective.replace(" ", ""))
            if found:
                level = float(found[1]) * (1 if found[2] == "ms" else 1000)
                axes.axhline(level, color="#d64550", linestyle="--", linewidth=1, label=objective)
        axes.set(xlabel=unit, ylabel="ms")
        axes.set_ylim(bottom=0)
        _knee(axes, document)
        axes.legend(fontsize=8)

    return draw


def _throughput(document: Mapping[str, Any], stages: Sequence[Mapping[str, Any]], unit: str) -> Draw:
    def draw(axes: Axes) -> None:
        ordered = sorted(stages, key=lambda stage: stage["load"])
        loads = [stage["load"] for stage in ordered]
        rates = [stage["rates"] for stage in ordered]
        axes.plot(loads, [rate["output_tokens_per_s"] for rate in rates], marker="o", markersize=4,
                  label="output tokens/s (left)")  # fmt: skip
        axes.set(xlabel=unit, ylabel="tokens/s")
        axes.set_ylim(bottom=0)
        right = axes.twinx()
        right.grid(visible=False)
        right.spines["right"].set_visible(True)
        for key, label, colour in (
            ("offered_per_s", "offered", _INK),
            ("completed_per_s", "completed", _COLOURS[1]),
            ("good_per_s", "good", _COLOURS[2]),
        ):
            if rates[0][key] is not None:
                line = ":" if key == "offered_per_s" else "-"
                right.plot(
                    loads, [rate[key] for rate in rates], line, marker=".", color=colour, label=f"{label} (right)"
                )
        right.set_ylabel("requests/s")
        right.set_ylim(bottom=0)
        _knee(axes, document)
        handles = axes.get_legend_handles_labels(), right.get_legend_handles_labels()
        right.legend(handles[0][0] + handles[1][0], handles[0][1] + handles[1][1], fontsize=7, loc="lower right")

    return draw


def _first_tokens(record: StageRecord) -> list[float]:
    chosen = (sample.figures().get("ttft_token") for sample in record.samples if record.holds(sample.due))
    return [value for value in chosen if value is not None]


def _gaps(record: StageRecord) -> list[float]:
    return [gap for sample in record.samples if sample.ok and record.holds(sample.due) for gap in sample.gaps()]


def _shares(records: Sequence[StageRecord], unit: str, values: Callable[[StageRecord], list[float]]) -> Draw:
    def draw(axes: Axes) -> None:
        for record in records:
            ordered = sorted(value * 1000 for value in values(record))
            if not ordered:
                continue
            # Of many, as many as can be seen.
            ranks = sorted({round(step * (len(ordered) - 1) / _MOST_POINTS) for step in range(_MOST_POINTS + 1)})
            xs = [max(ordered[rank], 1e-3) for rank in ranks]
            axes.step(xs, [(rank + 1) / len(ordered) for rank in ranks], where="post", label=f"{record.load:g} {unit}")
        low, high = axes.dataLim.x0, axes.dataLim.x1
        wide = high > 20 * low
        if wide:
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(lambda value, _position: f"{value:g}")
            axes.xaxis.set_minor_formatter(NullFormatter())
        else:
            axes.set_xlim(left=0)
        axes.set(xlabel="ms, logarithmic" if wide else "ms", ylabel="share at most so long", ylim=(0, 1.02))
        axes.legend(fontsize=8, loc="lower right")

    return draw


def _bands(axes: Axes, records: Sequence[StageRecord], zero: float) -> None:
    for record in records:
        axes.axvspan(record.start - zero, record.measured - zero, color=_INK, alpha=0.07, linewidth=0)
        axes.annotate(f"{record.load:g}", (record.start - zero, 1), xycoords=("data", "axes fraction"),
                      xytext=(1, 2), textcoords="offset points", fontsize=7)  # fmt: skip


def _timeline(records: Sequence[StageRecord]) -> Draw:
    def draw(axes: Axes) -> None:
        zero = records[0].start
        spans = [(s.sent - zero, s.ended - zero) for r in records for s in r.samples if s.sent is not None and s.ended]
        last = max((ended for _, ended in spans), default=1.0)
        width = max(last / 60, 0.5)
        count = int(last / width) + 1
        middles = [(bin_ + 0.5) * width for bin_ in range(count)]
        flights = [sum(sent <= at < ended for sent, ended in spans) for at in middles]
        axes.step(middles, flights, where="mid", label="in flight (left)")
        axes.set(xlabel="seconds (warm-up shaded)", ylabel="requests in flight")
        axes.set_ylim(0, 1.2 * max(*flights, 1))
        right = axes.twinx()
        right.grid(visible=False)
        right.spines["right"].set_visible(True)
        for label, ok, colour in (("succeeded", True, _COLOURS[2]), ("failed", False, _COLOURS[5])):
            ends = [s.ended - zero for r in records for s in r.samples if s.ended and s.ok is ok]
            if ends:
                rates = [sum(int(end / width) == bin_ for end in ends) / width for bin_ in range(count)]
                right.step(middles, rates, where="mid", color=colour, label=f"{label}/s (right)", linewidth=1)
        right.set_ylabel("requests/s")
        right.set_ylim(0, 1.2 * right.get_ylim()[1])
        _bands(axes, records, zero)
        handles = axes.get_legend_handles_labels(), right.get_legend_handles_labels()
        right.legend(
            handles[0][0] + handles[1][0], handles[0][1] + handles[1][1], fontsize=7, loc="upper left", ncols=3
        )

    return draw


def _scatter(records: Sequence[StageRecord]) -> Draw:
    def draw(axes: Axes) -> None:
        zero = records[0].start
        points = [
            (s.due - zero, s.tokens_at[0] - s.sent)
            for r in records
            for s in r.samples
            if s.ok and s.tokens_at and s.sent is not None
        ]
        step = max(len(points) // (2 * _MOST_POINTS), 1)
        points = sorted(points)[::step]
        axes.plot([at for at, _ in points], [value * 1000 for _, value in points], ".", markersize=3)
        axes.set(xlabel="seconds (warm-up shaded)", ylabel="first token, ms")
        axes.set_ylim(0, 1100 * max((value for _, value in points), default=1.0))
        _bands(axes, records, zero)

    return draw
