"""From samples to the figures of a stage."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from specserve.loadtest.plan import Plan
from specserve.loadtest.sample import Failure, Sample
from specserve.loadtest.slo import SCALARS, Objective
from specserve.loadtest.statistics import describe

FORMULAS = {
    "scheduled": "the moment when a request was due by the arrivals that were drawn before the stage (open loop only)",
    "sent": "the moment when we began to send, before a connection was opened if one had to be",
    "moments": "of what comes: when the kernel took it off the network (Linux, without TLS), else when we read it",
    "ttft_event": "first event with data - sent",
    "ttft_token": "first chunk with text, thoughts or a call - sent",
    "itl": "one chunk with text - the chunk with text before it; all gaps of all requests (chunks are not tokens)",
    "tpot": "(last chunk with text - first) / (output tokens - 1), of answers of at least two tokens and two chunks",
    "e2e": "[DONE] - sent",
    "tail": "[DONE] - last chunk with text",
    "ttft_token_scheduled": "first chunk with text - scheduled: what a user sees if we, or our queue, were late",
    "e2e_scheduled": "[DONE] - scheduled",
    "connect": "connection stands - sent, of requests that opened one",
    "output tokens": "usage.completion_tokens; without usage, chunks with text are counted, and the report says so",
    "window": "from the end of a stage's warm-up to the end of its sending",
    "measured": "requests that were due (closed loop: sent) in the window, however late they ended",
    "offered rate": "requests due in the window / its seconds",
    "sent rate": "requests sent in the window / its seconds",
    "completed rate": "requests that succeeded and ended in the window / its seconds",
    "output tokens/s": "tokens that arrived in the window / its seconds; those of a request are spread over its chunks",
    "input tokens/s": "prompt tokens of requests whose first token arrived in the window / its seconds",
    "tokens/s of a user": "1 / tpot",
    "schedule lag": "sent - scheduled",
    "loop lag": "how much later than asked for a sleep of 10 ms ended in the sending process",
    "error rate": "failed / (succeeded + failed + not sent), of measured requests",
    "goodput": "measured requests that succeeded within the threshold of every objective on latency / as above; "
    "of itl the mean of the request's own gaps counts",
    "percentile": "nearest rank on the raw samples: the smallest one that at least this share does not exceed",
    "interval": "where the true percentile lies with 95 %, by the binomial distribution of ranks",
    "saturated": "open loop: over the window in flight grew by more than 0.1 * due + 2 * sqrt(mean in flight) + 1, "
    "or requests could not be sent; closed loop: tokens/s grew by less than a tenth of what the users did",
    "knee": "the highest load of a stage that met all objectives, was not saturated and failed at most 1 % of requests",
}


@dataclass
class StageRecord:
    """All that was seen of a stage. Moments are those of the monotonic clock."""

    index: int
    load: float
    start: float
    measured: float
    end: float
    samples: list[Sample] = field(default_factory=list)
    loop_lags: list[float] = field(default_factory=list)
    cpu: dict[int, float] = field(default_factory=dict)
    drained: float = 0.0

    @property
    def window(self) -> float:
        """Seconds that are measured."""
        return max(self.end - self.measured, 1e-9)

    def holds(self, moment: float | None) -> bool:
        """Whether a moment is in the window."""
        return moment is not None and self.measured <= moment < self.end


def summarise(plan: Plan, record: StageRecord) -> dict[str, Any]:
    """The figures of a stage; times in seconds."""
    chosen = [sample for sample in record.samples if record.holds(sample.due)]
    ok = [sample for sample in chosen if sample.ok]
    errors = Counter(str(s.error_class()) for s in chosen if not s.ok and s.failure != Failure.ABORTED)
    finished = len(ok) + errors.total() - errors[Failure.NOT_SENT]
    counted = finished + errors[Failure.NOT_SENT]
    figures = [sample.figures() for sample in ok]
    names = list(dict.fromkeys(name for one in figures for name in one))
    latency = {name: describe(one[name] for one in figures if name in one) for name in names}
    latency["itl"] = describe(gap for sample in ok for gap in sample.gaps())
    good = [sample for sample in ok if is_good(sample, plan.objectives)]
    lags = [s.sent - s.scheduled for s in chosen if s.sent is not None and s.scheduled is not None]
    window = record.window
    ended_ok = [s for s in record.samples if s.ok and record.holds(s.done)]
    flights = _in_flight(record)
    return {
        "index": record.index,
        "load": record.load,
        "unit": plan.unit,
        "seconds": {"warmup": record.measured - record.start, "window": window, "drain": record.drained - record.end},
        "requests": {
            "due": len(chosen),
            "sent": sum(sample.sent is not None for sample in chosen),
            "succeeded": len(ok),
            "failed": errors.total() - errors[Failure.NOT_SENT],
            "not_sent": errors[Failure.NOT_SENT],
            "aborted": sum(sample.failure == Failure.ABORTED for sample in chosen),
            "finished": finished,
            "warmup": len(record.samples) - len(chosen),
            "errors": dict(errors.most_common()),
        },
        "rates": {
            "offered_per_s": len(chosen) / window if plan.open_loop else None,
            "sent_per_s": sum(record.holds(sample.sent) for sample in record.samples) / window,
            "completed_per_s": len(ended_ok) / window,
            "good_per_s": sum(is_good(sample, plan.objectives) for sample in ended_ok) / window,
            "good_share": len(good) / counted if counted else 0.0,
            "errors": errors.total() / counted if counted else 0.0,
            "output_tokens_per_s": sum(_arrived(sample, record) for sample in record.samples) / window,
            "input_tokens_per_s": sum(
                s.prompt_tokens or 0 for s in record.samples if s.tokens_at and record.holds(s.tokens_at[0])
            )
            / window,
        },
        "latency": {name: figure for name, figure in latency.items() if figure},
        "user_tokens_per_s": describe(1 / one["tpot"] for one in figures if one.get("tpot")),
        "tokens": _tokens(ok),
        "in_flight": flights,
        "generator": {
            "schedule_lag": describe(lags),
            "loop_lag": describe(record.loop_lags),
            "cpu": max(record.cpu.values(), default=0.0) / max(record.drained - record.start, 1e-9),
        },
    }


def is_good(sample: Sample, objectives: Iterable[Objective]) -> bool:
    """Whether a request was good: it succeeded, within the threshold of each objective on latency."""
    if not sample.ok:
        return False
    figures = sample.figures()
    gaps = sample.gaps()
    if gaps:
        figures["itl"] = math.fsum(gaps) / len(gaps)
    return all(
        objective.metric in SCALARS or objective.metric not in figures or objective.holds(figures[objective.metric])
        for objective in objectives
    )


def _arrived(sample: Sample, record: StageRecord) -> float:
    """Tokens of a success that came in the window."""
    if not sample.ok or not sample.tokens_at:
        return 0.0
    share = sum(record.holds(at) for at in sample.tokens_at) / len(sample.tokens_at)
    return sample.output_tokens * share


def _tokens(ok: Sequence[Sample]) -> dict[str, Any]:
    counted = [sample for sample in ok if sample.completion_tokens is not None]
    chunks = sum(len(sample.tokens_at) for sample in counted)
    return {
        "source": "usage" if len(counted) == len(ok) else ("chunks" if not counted else "usage and chunks"),
        "without_usage": len(ok) - len(counted),
        "prompt_planned": describe(sample.prompt_planned for sample in ok),
        "prompt": describe(sample.prompt_tokens for sample in ok if sample.prompt_tokens is not None),
        "output_limit": describe(sample.output_limit for sample in ok),
        "output": describe(sample.output_tokens for sample in ok),
        "per_chunk": sum(sample.completion_tokens or 0 for sample in counted) / chunks if chunks else None,
        "finish_reasons": dict(Counter(str(sample.finish_reason) for sample in ok).most_common()),
    }


def _in_flight(record: StageRecord) -> dict[str, float]:
    """Requests that wait for their end, exactly: mean over the window, most, and at its two ends."""
    spans = [(s.sent, s.ended) for s in record.samples if s.sent is not None and s.ended is not None]
    inside = math.fsum(max(min(ended, record.end) - max(sent, record.measured), 0.0) for sent, ended in spans)
    steps = sorted([(sent, 1) for sent, _ in spans] + [(ended, -1) for _, ended in spans])
    most = level = 0
    for moment, step in steps:
        level += step
        if record.holds(moment):
            most = max(most, level)
    return {
        "mean": inside / record.window,
        "max": most,
        "first": sum(sent <= record.measured < ended for sent, ended in spans),
        "last": sum(sent <= record.end < ended for sent, ended in spans),
    }
