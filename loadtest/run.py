"""A whole run: learn how the server counts, send, calibrate, judge."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from specserve.loadtest import calibration, judgement
from specserve.loadtest.client import Client
from specserve.loadtest.conductor import Conductor
from specserve.loadtest.engine import Engine
from specserve.loadtest.exchange import exchange
from specserve.loadtest.metrics import StageRecord
from specserve.loadtest.plan import Plan
from specserve.loadtest.prompts import Prompts, TokensOfWords, read_dataset
from specserve.loadtest.sample import Failure, Sample

_PROBES = (16, 64)


class Unreachable(Exception):
    """The server gave no answer that a load could be made of; the message says what it gave."""


@dataclass
class Run:
    """What came of a plan."""

    plan: Plan
    prompts: Prompts
    started: datetime
    records: list[StageRecord]
    stages: list[dict[str, Any]]
    seconds: float
    stopped: str
    note: str
    spent: list[float]
    calibration: dict[str, Any] | None = None
    verdict: str = ""
    reasons: list[str] = field(default_factory=list)
    knee: float | None = None

    @property
    def exit_code(self) -> int:
        """Of the command."""
        return judgement.EXIT[self.verdict]


def make_prompts(plan: Plan) -> Prompts:
    """The requests of a plan, before it is known how the server counts words."""
    return Prompts(
        plan.model,
        plan.prompt,
        plan.output,
        plan.seed,
        secrets.token_hex(8),
        plan.shared_prefix,
        read_dataset(plan.dataset) if plan.dataset else (),
        plan.limit_field,
        plan.usage,
        plan.extra,
    )


def learn(plan: Plan, prompts: Prompts) -> Prompts:
    """Send two short requests, to see that the server answers and how many tokens our words are.

    Raises:
        Unreachable: It does not answer as it should.
    """
    client = Client(plan.url, plan.api_key)
    counted = []
    try:
        for number, words in enumerate(_PROBES):
            sample = Sample(-1, number)
            exchange(client, prompts.probe(words), sample, plan.timeout, plan.api_key)
            if number and not sample.ok:
                return prompts  # limits of the server are for the run to find; the guess must do
            # Not every first answer has text, and usage is judged in the run.
            if sample.failure not in {None, Failure.EMPTY, Failure.USAGE_MISMATCH, Failure.NO_DONE}:
                msg = f"{plan.url}: {sample.error_class()}: {' '.join(sample.detail.split())}"
                raise Unreachable(msg)
            counted.append((words, sample.prompt_tokens))
    finally:
        client.close()
    (few, few_tokens), (many, many_tokens) = counted
    if few_tokens is None or many_tokens is None:
        return prompts
    return prompts.scaled(TokensOfWords.fit((few, few_tokens), (many, many_tokens)))


class Runs:
    """Runs a plan, once or, with locust's page, as often as its button is pressed.

    Args:
        plan: What to do.
        prompts: The requests.
        tell: Is called with a short text when something happens.
        watch: Is called twice a second.
        calibrate: Whether to measure our own error afterwards.
    """

    def __init__(
        self,
        plan: Plan,
        prompts: Prompts,
        tell: Callable[[str], None],
        watch: Callable[[Conductor], None],
        *,
        calibrate: bool = True,
    ) -> None:
        self._plan = plan
        self._prompts = prompts
        self._tell = tell
        self._watch = watch
        self._calibrate = calibrate
        self.engine = Engine(plan, prompts)

    def once(self) -> Run:
        """Run it now."""
        started, begun = datetime.now(UTC), time.monotonic()
        conductor = self.engine.run(self._tell, self._watch)
        return self._result(conductor, started, begun)

    def next_of_page(self) -> Run:
        """Wait until somebody presses the button, and for the end of what it starts."""
        conductor = self.engine.take(self._tell)
        while self.engine.runner.shape_greenlet is None:
            time.sleep(0.1)
        started, begun = datetime.now(UTC), time.monotonic()
        self.engine.watch(conductor, self._watch)
        return self._result(conductor, started, begun)

    def _result(self, conductor: Conductor, started: datetime, begun: float) -> Run:
        seconds = time.monotonic() - begun
        spent = [sum(column) for column in zip(*conductor.spent.values(), strict=True)] or [0, 0, 0.0]
        run = Run(
            self._plan,
            self._prompts,
            started,
            conductor.records,
            conductor.stages,
            seconds,
            conductor.stopped,
            conductor.note,
            spent,
        )
        if self._calibrate and not conductor.stopped:
            self._tell("calibration: the same load on a stub")
            with suppress(KeyboardInterrupt):  # the figures are there, and are worth more
                run.calibration = calibration.like(self._plan, run.stages)
        run.knee = judgement.knee(run.stages)
        run.verdict, run.reasons = judgement.verdict(self._plan, run.stages, conductor.stopped)
        return run
