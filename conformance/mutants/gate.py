"""Run every mutant and see who finds it out: the proof of the kit, and the table of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from specserve.conformance import exchanges, families
from specserve.conformance.exchanges.render import NotRendered, render
from specserve.conformance.judge import Absent, Judge, Outcome
from specserve.conformance.mutants import Mutant
from specserve.conformance.mutants.proxy import Proxy
from specserve.conformance.requirements import Level
from specserve.conformance.requirements import load as load_requirements
from specserve.conformance.runner import Run, Runner
from specserve.conformance.statuses import Status
from specserve.conformance.target import Target
from specserve.conformance.wire import Wire

KILLS = frozenset({Status.FAIL, Status.SILENT, Status.WARN})


@dataclass(frozen=True)
class Kill:
    """What became of one mutant.

    Attributes:
        mutant: The mutant.
        killed_by: The requirements that found it out, with their status.
        missed: Those that are named for it and did not.
        collateral: A MUST that is not named for it and broke all the same.
        errors: Faults of the kit.
    """

    mutant: Mutant
    killed_by: dict[str, Status]
    missed: tuple[str, ...]
    collateral: tuple[str, ...]
    errors: tuple[str, ...]

    @property
    def clean(self) -> bool:
        """Whether it is found out by those that are named, and no other MUST."""
        return bool(self.killed_by) and not self.missed and not self.collateral and not self.errors


def everything(base_url: str, api_key: str, model: str) -> Target:
    """A target that declares all profiles."""
    return Target(
        base_url,
        api_key=api_key,
        model=model,
        embedding_model=model,
        profiles=families.profiles(),
        allow=frozenset({"costly"}),
        timeout=20,
    )


def golden(proxy: Proxy) -> Run:
    """Run the kit on the good server, through the honest proxy."""
    proxy.use(None)
    return Runner(replace(proxy.upstream, base_url=proxy.url)).run()


def run_all(proxy: Proxy, good: Run, mutants: Iterable[Mutant]) -> Iterator[Kill]:
    """Run each mutant. What it does not change was judged before: only the rest is sent and judged again."""
    wire = Wire(good.target.timeout, sleep=lambda _: None)
    try:
        for mutant in mutants:
            proxy.use(mutant)
            yield _kill(mutant, _outcomes(proxy, good, wire))
    finally:
        wire.close()


def _outcomes(proxy: Proxy, good: Run, wire: Wire) -> list[Outcome]:
    target = good.target
    answers, absent = dict(good.answers), dict(good.absent)
    changed: set[str] = set()
    for name, exchange in exchanges.load().items():
        if name not in good.answers:
            continue
        try:
            alone = exchange.after is None  # then it is the same for every mutant, and some are large
            sent = good.answers[name].sent if alone else render(exchange, target, answers)
        except NotRendered as reason:
            changed.add(name)
            answers.pop(name, None)
            absent[name] = Absent(Status.INCONCLUSIVE, str(reason))
            continue
        if proxy.matches(sent) or exchange.after in changed:
            changed.add(name)
            answers[name] = wire.send(sent, abandon=exchange.abandon)
    judge = Judge(answers, absent)
    return [
        judge.outcome(requirement)
        for requirement in load_requirements().values()
        if any(requirement.judges(name) for name in changed)
    ]


def _kill(mutant: Mutant, outcomes: list[Outcome]) -> Kill:
    killed = {outcome.requirement.id: outcome.status for outcome in outcomes if outcome.status in KILLS}
    musts = {outcome.requirement.id for outcome in outcomes if outcome.requirement.level is Level.MUST}
    return Kill(
        mutant,
        killed,
        missed=tuple(sorted(mutant.killers - killed.keys())),
        collateral=tuple(sorted((killed.keys() & musts) - mutant.killers)),
        errors=tuple(f"{o.requirement.id}: {o.reason}" for o in outcomes if o.status is Status.ERROR),
    )


def table(kills: Iterable[Kill]) -> str:
    """The matrix in Markdown."""
    lines = ["| Mutant | What is wrong with it | Found out by |", "| --- | --- | --- |"]
    for kill in kills:
        found = ", ".join(f"`{name}` {status}" for name, status in sorted(kill.killed_by.items()))
        lines.append(f"| `{kill.mutant.id}` | {kill.mutant.what} | {found} |")
    return "\n".join(lines) + "\n"
