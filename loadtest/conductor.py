"""Leads a run: one stage after the other, as a locust shape."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import gevent
from locust import LoadTestShape

from specserve.loadtest import judgement
from specserve.loadtest.client import clock
from specserve.loadtest.metrics import StageRecord, summarise
from specserve.loadtest.plan import Plan
from specserve.loadtest.sample import Sample
from specserve.loadtest.steps import next_load
from specserve.loadtest.worker import REPORT_EVERY

_AHEAD = 0.5
"""Seconds between an order and its start: users must stand ready in all processes."""

_GRACE = 10.0
_RECENT = 200


class Conductor(LoadTestShape):
    """Orders stages and gathers what the processes report.

    Args:
        plan: The run.
        number: Of the run; what was sent in another is none of ours.
        tell: Is called with a short text when something happens.
    """

    abstract = True

    def __init__(self, plan: Plan, number: int = 0, tell: Callable[[str], None] = lambda _text: None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # locust is typed in part
        self.plan = plan
        self.number = number
        self.records: list[StageRecord] = []
        self.stages: list[dict[str, Any]] = []
        self.stopped = ""
        self.note = ""
        self.spent: dict[int, list[float]] = {}
        self.in_flight: dict[int, int] = {}
        self.ended = False
        self.succeeded = 0
        self.failed = 0
        self.recent: deque[float] = deque(maxlen=_RECENT)
        self._tell = tell
        self._over: set[int] = set()
        self._refused = ""
        self._halted = False

    def tick(self) -> tuple[int, float] | None:
        """How many users locust shall run; None ends the run. Called every second."""
        if self.ended:
            return None
        if not self.records:
            self._order(self.plan.loads[0])
        elif self._is_over():
            self._close()
            load = None if self.stopped or self._refused else next_load(self.plan, self.stages)
            if load is None:
                self.ended = True
                return None
            self._order(load)
        users = self.plan.processes if self.plan.open_loop else int(self.records[-1].load)
        return users, max(users, 1)

    def interrupt(self, why: str) -> None:
        """End the run with what there is."""
        if not self.stopped:
            self.stopped = why
        self._halt()

    def finish(self) -> None:
        """Close a run that was stopped from outside, as the button of locust's page does."""
        if len(self.stages) < len(self.records):
            self.interrupt("stopped")
            gevent.sleep(2 * REPORT_EVERY)
            self._close()
        self.ended = True

    def on_report(self, data: dict[str, Any]) -> None:
        """Take what a process hands in."""
        if data["run"] != self.number:
            return
        record = self.records[data["stage"]]
        samples = [Sample(**sample) for sample in data["samples"]]
        record.samples += samples
        self._count(samples)
        record.loop_lags += data["loop_lags"]
        record.cpu[data["process"]] = data["cpu"]
        self.in_flight[data["process"]] = data["in_flight"]
        self.spent[data["process"]] = data["spent"]
        self._refused = data["refusal"] or self._refused
        if data["over"] and data["stage"] == len(self.records) - 1:
            self._over.add(data["process"])

    def _count(self, samples: list[Sample]) -> None:
        """For those who watch."""
        for sample in samples:
            first = sample.figures().get("ttft_token")
            self.succeeded += sample.ok
            self.failed += not sample.ok
            if first is not None:
                self.recent.append(first)

    def _order(self, load: float) -> None:
        start = clock() + _AHEAD
        seconds = self.plan.warmup + self.plan.duration
        if self.plan.arrivals.kind == "trace":
            seconds = min(seconds, self.plan.arrivals.trace[-1] + 1e-6)
        end = start + seconds
        record = StageRecord(len(self.records), load, start, min(start + self.plan.warmup, end), end)
        self.records.append(record)
        self._over.clear()
        self.succeeded = self.failed = 0
        self.recent.clear()
        self._tell(f"stage {record.index + 1}: {load:g} {self.plan.unit}")
        order = {
            "run": self.number,
            "stage": record.index,
            "load": load,
            "start": start,
            "measured": record.measured,
            "end": record.end,
            "processes": self.plan.processes,
        }
        # Not before locust has made the users: a process that is told too early has nobody to send.
        gevent.spawn(self._send, "order", order)

    def _is_over(self) -> bool:
        record = self.records[-1]
        if len(self._over) == self.plan.processes:
            return True
        if clock() > record.end + self.plan.timeout + _GRACE and not self._halted:
            self.interrupt("a sending process did not finish")
        if self._halted:
            return clock() > record.end + self.plan.timeout + 2 * _GRACE
        return False

    def _close(self) -> None:
        record = self.records[-1]
        record.drained = clock()
        if record.drained < record.end:  # cut short by a cap or by hand
            record.end = max((s.sent for s in record.samples if s.sent is not None), default=record.measured) + 1e-6
        stage = summarise(self.plan, record)
        judgement.judge(self.plan, stage, self.stages[-1] if self.stages else None)
        self.stages.append(stage)
        self.note = self._refused

    def _halt(self) -> None:
        self._halted = True
        if self.records:
            gevent.spawn(self._send, "halt", {})
        else:
            self.ended = True

    def _send(self, name: str, data: dict[str, Any]) -> None:
        if self.runner is not None:
            self.runner.send_message(name, data)
