"""What each sending process does: keeps the order of the day, sends, and hands in what it saw."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from typing import Any

import gevent
from gevent.pool import Group
from locust.env import Environment
from locust.runners import Runner

from specserve.loadtest.budget import Budget
from specserve.loadtest.client import Client, clock
from specserve.loadtest.exchange import exchange
from specserve.loadtest.plan import Plan
from specserve.loadtest.prompts import Prompts
from specserve.loadtest.sample import Failure, Sample

REPORT_EVERY = 0.5
_PROBE_EVERY = 0.01


class Order:
    """What to do in one stage, as the conductor sends it to all processes.

    Attributes:
        run: Number of the run that it belongs to.
        stage: Its number.
        load: Requests a second of all processes together; unused in a closed loop.
        start: Moment of the monotonic clock.
        measured: Moment when the warm-up is over.
        end: Moment after which nothing more is sent.
        processes: How many share the load.
    """

    def __init__(self, data: dict[str, Any]) -> None:
        self.run: int = data["run"]
        self.stage: int = data["stage"]
        self.load: float = data["load"]
        self.start: float = data["start"]
        self.measured: float = data["measured"]
        self.end: float = data["end"]
        self.processes: int = data["processes"]


class Worker:
    """One sending process.

    Args:
        plan: The run.
        prompts: Its requests.
        environment: Locust's.
        runner: Of it; it carries the messages.
    """

    def __init__(self, plan: Plan, prompts: Prompts, environment: Environment, runner: Runner) -> None:
        self.plan = plan
        self.prompts = prompts
        self.order: Order | None = None
        self.in_flight = Group()
        self._environment = environment
        self._runner = runner
        self._client = Client(plan.url, plan.api_key)
        self._budget = Budget(plan.caps.share(plan.processes), plan.price)
        self._samples: list[Sample] = []
        self._loop_lags: list[float] = []
        self._numbers: Iterator[int] = iter(())
        self._sending = False
        self._halted = False
        self._cpu = 0.0
        runner.register_message("order", self._on_order)
        runner.register_message("halt", self._on_halt)

    @property
    def index(self) -> int:
        """Which of the processes this is, from 0."""
        return int(getattr(self._runner, "worker_index", 0))

    @property
    def is_open(self) -> bool:
        """Whether users may begin a request now."""
        order = self.order
        return (
            order is not None and not self._halted and order.start <= clock() < order.end and not self._budget.refusal
        )

    def work(self) -> None:
        """Measure this process's own delay, and report, until killed."""
        reported = clock()
        while True:
            due = clock() + _PROBE_EVERY
            gevent.sleep(_PROBE_EVERY)
            now = clock()
            if self.order is not None and self.order.measured <= now < self.order.end:
                self._loop_lags.append(max(now - due, 0.0))
            if now - reported >= REPORT_EVERY:
                reported = now
                self.report()

    def report(self) -> None:
        """Hand in what is finished."""
        order = self.order
        if order is None:
            return
        samples, self._samples = self._samples, []
        lags, self._loop_lags = self._loop_lags, []
        over = (self._halted or bool(self._budget.refusal) or clock() >= order.end) and not self._sending
        self._runner.send_message(
            "report",
            {
                "process": self.index,
                "run": order.run,
                "stage": order.stage,
                "samples": [sample.to_wire() for sample in samples],
                "in_flight": len(self.in_flight),
                "over": over and not self.in_flight,
                "loop_lags": lags,
                "cpu": time.process_time() - self._cpu,
                "refusal": self._budget.refusal,
                "spent": [self._budget.requests, self._budget.tokens, self._budget.usd],
            },
        )

    def run_schedule(self, order: Order) -> None:
        """Send this process's share of a stage on schedule."""
        rng = random.Random(f"{self.plan.seed}/{order.stage}/arrivals")  # noqa: S311  # not for secrets
        times = self.plan.arrivals.times(order.load, order.end - order.start, rng)
        self._sending = True
        try:
            for number in range(self.index, len(times), order.processes):
                due = order.start + times[number]
                request = self.prompts.make(order.stage, number)
                while (left := due - clock()) > 0 and not self._halted:
                    gevent.sleep(left)
                if self._halted:
                    return
                sample = Sample(order.stage, number, scheduled=due, process=self.index)
                if len(self.in_flight) >= max(self.plan.most_in_flight // order.processes, 1):
                    sample.failure = Failure.NOT_SENT
                    self._samples.append(sample)
                elif not self._budget.take(request.prompt_tokens, request.output_tokens):
                    return
                else:
                    self.in_flight.spawn(self._send, request, sample)
        finally:
            self._sending = False

    def ask(self) -> None:
        """Send one request of a user and wait for its answer, if a stage is open."""
        order = self.order
        if order is None or not self.is_open:
            return
        number = next(self._numbers)
        request = self.prompts.make(order.stage, number)
        if not self._budget.take(request.prompt_tokens, request.output_tokens):
            return
        self.in_flight.spawn(self._send, request, Sample(order.stage, number, process=self.index)).join()

    def _send(self, request: Any, sample: Sample) -> None:
        try:
            exchange(self._client, request, sample, self.plan.timeout, self.plan.api_key)
        finally:
            self._budget.settle(request.prompt_tokens, sample.prompt_tokens)
            self._samples.append(sample)
            self._tell_locust(sample)

    def _tell_locust(self, sample: Sample) -> None:
        """So that locust's own page and statistics show the run too."""
        if sample.sent is None or sample.ended is None or sample.failure == Failure.ABORTED:
            return
        figures = sample.figures()
        self._environment.events.request.fire(
            request_type="POST",
            name="/chat/completions",
            response_time=figures.get("e2e", sample.ended - sample.sent) * 1000,
            response_length=sample.output_tokens,
            exception=None if sample.ok else RuntimeError(sample.error_class()),
            context={},
        )
        if "ttft_token" in figures:
            # A row of its own that does not count as a request.
            entry = self._environment.stats.get("first token", "METRIC")
            entry.log(round(figures["ttft_token"] * 1000), sample.output_tokens)

    def _on_order(self, environment: Environment, msg: Any) -> None:
        order = Order(msg.data)
        if self.order is None or self.order.run != order.run:
            self._budget = Budget(self.plan.caps.share(self.plan.processes), self.plan.price)
            self._samples.clear()
        self.order = order
        self._numbers = iter(range(self.index, 2**31, self.order.processes))
        self._cpu = time.process_time()
        self._halted = False

    def _on_halt(self, environment: Environment, msg: Any) -> None:
        self._halted = True
        self.in_flight.kill(block=False)
