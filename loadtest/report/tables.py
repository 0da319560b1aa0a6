"""The figures of stages as CSV, and each request as a line of JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from specserve.loadtest.metrics import StageRecord
from specserve.loadtest.sample import Sample
from specserve.loadtest.slo import DISTRIBUTIONS

_STATISTICS = ("count", "mean", "sd", "min", "p50", "p90", "p95", "p99", "p999", "max")


def stages(document: Mapping[str, Any]) -> str:
    """A row a stage; times in seconds."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    first = document["stages"][0] if document["stages"] else None
    if first is None:
        return ""
    header = ["stage", "load", "unit", "window_s", *first["requests"], *first["rates"]]
    header.remove("errors")  # by class, of requests; the share of the same name follows
    header += ["saturated", "good", *(f"{name}_{statistic}" for name in DISTRIBUTIONS for statistic in _STATISTICS)]
    writer.writerow(header)
    for stage in document["stages"]:
        requests = [value for name, value in stage["requests"].items() if name != "errors"]
        row = [stage["index"] + 1, stage["load"], stage["unit"], stage["seconds"]["window"], *requests]
        row += [*stage["rates"].values(), bool(stage["saturated"]), stage["good"]]
        row += [(stage["latency"].get(name) or {}).get(key) for name in DISTRIBUTIONS for key in _STATISTICS]
        writer.writerow(row)
    return out.getvalue()


def requests(records: Sequence[StageRecord]) -> Iterator[str]:
    """A line a request, warm-up included; moments in seconds after the start of the first stage."""
    if not records:
        return
    zero = records[0].start
    for record in records:
        for sample in sorted(record.samples, key=lambda one: one.due):
            yield json.dumps(_row(sample, record, zero), ensure_ascii=False) + "\n"


def _row(sample: Sample, record: StageRecord, zero: float) -> dict[str, Any]:
    def since(moment: float | None) -> float | None:
        return None if moment is None else round(moment - zero, 6)

    return {
        "stage": sample.stage + 1,
        "request": sample.ident,
        "process": sample.process,
        "measured": record.holds(sample.due),
        "scheduled": since(sample.scheduled),
        "sent": since(sample.sent),
        "connected": since(sample.connected),
        "connection_reused": sample.reused,
        "first_byte": since(sample.first_byte),
        "first_event": since(sample.first_event),
        "tokens_at": [since(at) for at in sample.tokens_at],
        "done": since(sample.done),
        "ended": since(sample.ended),
        "status": sample.status,
        "failure": sample.error_class(),
        "detail": sample.detail,
        "prompt_tokens_planned": sample.prompt_planned,
        "prompt_tokens": sample.prompt_tokens,
        "output_limit": sample.output_limit,
        "completion_tokens": sample.completion_tokens,
        "chunks": sample.chunks,
        "finish_reason": sample.finish_reason,
        "figures": {name: round(value, 6) for name, value in sample.figures().items()},
    }
