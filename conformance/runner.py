"""Send what is needed, in order, within the budget; then judge."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from specserve.conformance import exchanges as catalogue
from specserve.conformance import oracle
from specserve.conformance.budget import Budget, Cost, Price
from specserve.conformance.evidence import Answer, Broken, dig
from specserve.conformance.exchanges import Exchange, worst_case
from specserve.conformance.exchanges.render import NotRendered, render
from specserve.conformance.judge import Absent, Judge, Outcome
from specserve.conformance.requirements import Requirement
from specserve.conformance.requirements import load as load_requirements
from specserve.conformance.statuses import Status, exit_code, verdict
from specserve.conformance.target import Target
from specserve.conformance.wire import Wire

FIRST = "models.list"
_PATIENCE = 4
"""Requests in a row that may have no answer in time; those that follow are not sent."""


class Sender(Protocol):
    """What sends requests; `Wire`, or what a test puts in its place."""

    def send(self, sent: object, *, abandon: bool = ..., deadline: float | None = ...) -> Answer:
        """Send one request."""


@dataclass(frozen=True)
class Step:
    """One request of a plan."""

    exchange: Exchange
    cost: Cost
    refusal: Absent | None = None


@dataclass
class Run:
    """All that is known after a run."""

    target: Target
    outcomes: list[Outcome] = field(default_factory=list)
    answers: dict[str, Answer] = field(default_factory=dict)
    absent: dict[str, Absent] = field(default_factory=dict)
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    seconds: float = 0.0
    requests: int = 0
    billable: int = 0
    tokens: int = 0
    usd: float = 0.0
    tokens_reported: int = 0

    @property
    def strict(self) -> str:
        """The verdict by the contract."""
        return verdict(outcome.status for outcome in self.outcomes)

    @property
    def sdk(self) -> str:
        """The verdict by what official clients need."""
        return verdict(outcome.sdk_status for outcome in self.outcomes)

    @property
    def exit_code(self) -> int:
        """What the command ends with."""
        return int(exit_code(outcome.status for outcome in self.outcomes))


def plan(target: Target, requirements: Iterable[Requirement]) -> list[Step]:
    """The requests that the requirements need, with the most that each can cost; sends nothing."""
    wanted = {
        name for requirement in requirements if requirement.profile in target.profiles for name in requirement.uses
    }
    known = catalogue.load()
    pending = list(wanted)
    while pending:  # what fills a placeholder is sent as well
        earlier = known[pending.pop()].after
        if earlier and earlier not in wanted:
            wanted.add(earlier)
            pending.append(earlier)
    if not target.model:
        wanted.add(FIRST)
    steps = []
    for name, exchange in known.items():
        if name in wanted:
            steps.append(Step(exchange, worst_case(exchange, _rough(exchange, target)), _forbidden(exchange, target)))
    return sorted(steps, key=lambda step: step.exchange.name != FIRST)


def _rough(exchange: Exchange, target: Target) -> object:
    """The body as far as it is known before anything came back."""
    try:
        return render(exchange, target, {}).json
    except NotRendered:
        return exchange.body


def _forbidden(exchange: Exchange, target: Target) -> Absent | None:
    if exchange.needs_key and not target.api_key:
        return Absent(Status.UNSUPPORTED, "no key was named, so the server is taken to be open")
    if exchange.category == "costly" and "costly" not in target.allow:
        return Absent(Status.SKIP, "costly; allow it with --allow costly")
    return None


class Runner:
    """Runs requirements against a target.

    Args:
        target: The server.
        requirements: What to judge; those of profiles that the target does not declare are skipped.
        price: Of the model, for a cap in dollars.
        wire: What sends.
        progress: Called after each exchange with its name, its number and how many there are.
    """

    def __init__(
        self,
        target: Target,
        requirements: Iterable[Requirement] | None = None,
        *,
        price: Price | None = None,
        wire: Wire | None = None,
        progress: Callable[[str, int, int], None] = lambda *_: None,
    ) -> None:
        self._target = target
        self._requirements = list(load_requirements().values() if requirements is None else requirements)
        self._budget = Budget(target.limits, price)
        self._wire = wire or Wire(target.timeout)
        self._progress = progress

    def run(self) -> Run:
        """Send and judge. Whatever the server does, this returns."""
        started = time.monotonic()
        run = Run(self._target)
        steps = plan(self._target, self._requirements)
        try:
            for number, step in enumerate(steps, 1):
                self._step(step, run)
                self._progress(step.exchange.name, number, len(steps))
        finally:
            self._wire.close()
        judge = Judge(run.answers, run.absent)
        run.outcomes = [
            judge.outcome(requirement)
            if requirement.profile in self._target.profiles
            else Outcome(requirement, Status.SKIP, f"the profile {requirement.profile} is not declared")
            for requirement in self._requirements
        ]
        run.seconds = time.monotonic() - started
        run.requests, run.billable = self._budget.requests, self._budget.billable
        run.tokens, run.usd = self._budget.tokens, self._budget.usd
        run.tokens_reported = sum(map(_reported, run.answers.values()))
        return run

    def _step(self, step: Step, run: Run) -> None:
        exchange = step.exchange
        refusal = step.refusal or self._unreachable(run)
        if refusal is not None:
            run.absent[exchange.name] = refusal
            return
        try:
            sent = render(exchange, run.target, run.answers)
        except NotRendered as missing:
            run.absent[exchange.name] = self._not_rendered(exchange, run, str(missing))
            return
        fault = _own_fault(exchange, sent.json)
        if fault:
            run.absent[exchange.name] = Absent(Status.ERROR, f"the kit's own request {exchange.name} is wrong: {fault}")
            return
        cost = worst_case(exchange, sent.json)
        reason = self._budget.refusal(cost)
        if reason is not None:
            run.absent[exchange.name] = Absent(Status.NOT_RUN, reason)
            return
        self._budget.spend(cost)
        answer = self._wire.send(sent, abandon=exchange.abandon, deadline=self._budget.deadline)
        run.answers[exchange.name] = answer
        if exchange.name == FIRST:
            first = answer.get("data", 0, "id")
            run.target = run.target.with_models(first if isinstance(first, str) else "")

    def _unreachable(self, run: Run) -> Absent | None:
        """Where nobody listens, waiting for each request would only take time."""
        first = run.answers.get(FIRST)
        if first is not None and first.broken is Broken.CONNECT:
            return Absent(Status.INCONCLUSIVE, f"{first.broken}: {first.detail}")
        if first is not None and not run.target.model:
            return Absent(Status.INCONCLUSIVE, "no model was named, and the server lists none")
        last = list(run.answers.values())[-_PATIENCE:]
        if len(last) == _PATIENCE and all(answer.broken is Broken.TIMEOUT for answer in last):
            return Absent(Status.INCONCLUSIVE, f"not asked: {_PATIENCE} requests in a row had no answer in time")
        return None

    @staticmethod
    def _not_rendered(exchange: Exchange, run: Run, reason: str) -> Absent:
        earlier = exchange.after or ""
        if earlier in run.absent:
            return run.absent[earlier]
        answer = run.answers.get(earlier)
        if answer is not None and catalogue.load()[earlier].optional and 400 <= answer.status < 500:
            return Absent(Status.UNSUPPORTED, f"{earlier} was refused")
        return Absent(Status.INCONCLUSIVE, reason)


def _own_fault(exchange: Exchange, body: object) -> str:
    """Why the kit's own request is not what it means to be: wrong where it should be right, or the reverse."""
    if exchange.operation is None or exchange.raw is not None or exchange.body is None:
        return ""
    problems = oracle.request_problems(exchange.operation, body)
    if exchange.valid and problems:
        return "; ".join(problems[:2])
    if not exchange.valid and not problems:
        return "it should break the contract and does not"
    return ""


def _reported(answer: Answer) -> int:
    """The tokens that the server says it used."""
    total = answer.get("usage", "total_tokens")
    if not isinstance(total, int):
        total = next((t for p in reversed(answer.payloads) if isinstance(t := dig(p, "usage", "total_tokens"), int)), 0)
    return total if not isinstance(total, bool) else 0
