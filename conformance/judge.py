"""Say of each requirement what its answers show."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache

from specserve.conformance import checks, oracle
from specserve.conformance.checks import Check, Needs, NothingShown
from specserve.conformance.evidence import MISSING, Answer, Broken, Finding, shown
from specserve.conformance.exchanges import Exchange
from specserve.conformance.exchanges import load as load_exchanges
from specserve.conformance.requirements import Level, Requirement
from specserve.conformance.requirements import load as load_requirements
from specserve.conformance.statuses import Status, worst

# Limits, and what stands between the kit and the server.
INFRASTRUCTURE = frozenset({429, 502, 503, 504})


@dataclass(frozen=True)
class Absent:
    """Why there is no answer of an exchange: not asked, or not askable."""

    status: Status
    reason: str


@dataclass(frozen=True)
class Outcome:
    """What was found out about a requirement.

    Attributes:
        requirement: The requirement.
        status: The gravest of what its answers show.
        reason: A sentence, where it is neither PASS nor told by findings.
        findings: What breaks it, each with the exchange that shows it.
        judged: How many answers were looked at.
    """

    requirement: Requirement
    status: Status
    reason: str = ""
    findings: tuple[tuple[str, Finding], ...] = ()
    judged: int = 0

    @property
    def sdk_status(self) -> Status:
        """The same for official clients: what they do not need cannot fail them."""
        if self.status in {Status.FAIL, Status.SILENT, Status.WARN}:
            hurts = any(self.requirement.sdk if found.sdk is None else found.sdk for _, found in self.findings)
            return self.status if hurts else Status.PASS
        if self.status in {Status.INCONCLUSIVE, Status.NOT_RUN} and not self.requirement.sdk:
            return Status.SKIP  # whatever it is, they do not need it
        return self.status


@dataclass
class _Tally:
    statuses: list[Status] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    findings: list[tuple[str, Finding]] = field(default_factory=list)
    judged: int = 0

    def add(self, status: Status, reason: str) -> None:
        self.statuses.append(status)
        self.reasons.append(reason)


class Judge:
    """Judges requirements on the answers of one run.

    Args:
        answers: Those that came, by exchange.
        absent: Why others did not.
    """

    def __init__(self, answers: Mapping[str, Answer], absent: Mapping[str, Absent]) -> None:
        self._exchanges = load_exchanges()
        self._answers = answers
        self._absent = absent

    def outcome(self, requirement: Requirement) -> Outcome:
        """Judge one requirement; a fault of the kit is an outcome too."""
        try:
            return self._outcome(requirement)
        except Exception as error:  # noqa: BLE001  a fault of one check must not take the report with it
            return Outcome(requirement, Status.ERROR, f"the kit failed: {type(error).__name__}: {error}"[:300])

    def _outcome(self, requirement: Requirement) -> Outcome:
        tally = _Tally()
        wanted = looked_at(requirement)
        for name in requirement.uses:
            if name in self._absent:
                tally.add(self._absent[name].status, self._absent[name].reason)
        present = {name: self._answers[name] for name in wanted if name in self._answers}
        check = checks.load().get(requirement.id)
        if check is not None and check.several is not None:
            if not tally.statuses:
                self._judge_together(requirement, check, present, tally)
        else:
            for name, answer in present.items():
                self._judge_one(requirement, check, name, answer, tally, needed=name in requirement.uses)
        if tally.findings:
            tally.statuses.append(_grave(requirement, [finding for _, finding in tally.findings]))
        status = worst(tally.statuses)
        reason = (
            ""
            if tally.findings
            else next((text for found, text in zip(tally.statuses, tally.reasons, strict=False) if found is status), "")
        )
        return Outcome(requirement, status, reason, tuple(tally.findings), tally.judged)

    def _judge_one(
        self, requirement: Requirement, check: Check | None, name: str, answer: Answer, tally: _Tally, *, needed: bool
    ) -> None:
        exchange = self._exchanges[name]
        if requirement.rule is not None:
            self._follow_rule(requirement.rule, exchange, answer, tally)
            return
        needs = check.needs if check else Needs.COMPLETE
        obstacle = _obstacle(exchange, answer, needs)
        if obstacle is not None:
            if needed:  # of the others, only what can be read is looked at
                tally.add(*obstacle)
            return
        try:
            found = list(check.one(answer) if check and check.one else self._schema_findings(requirement, name))
        except NothingShown as reason:
            if needed:
                tally.add(Status.INCONCLUSIVE, str(reason))
            return
        except (TypeError, ValueError, KeyError, IndexError, AttributeError):
            if not self._violated(name):
                raise
            if needed:
                tally.add(Status.INCONCLUSIVE, "the answer has not the form that this check reads")
            return
        tally.judged += 1
        tally.findings += [(name, finding) for finding in found]
        tally.add(Status.PASS, "")

    def _judge_together(
        self, requirement: Requirement, check: Check, present: Mapping[str, Answer], tally: _Tally
    ) -> None:
        readable = {}
        for name, answer in present.items():
            obstacle = _obstacle(self._exchanges[name], answer, check.needs)
            if obstacle is None:
                readable[name] = answer
            elif name in requirement.uses:
                tally.add(*obstacle)
        if tally.statuses or check.several is None:
            return
        try:
            found = list(check.several(readable))
        except NothingShown as reason:
            tally.add(Status.INCONCLUSIVE, str(reason))
            return
        except (TypeError, ValueError, KeyError, IndexError, AttributeError):
            if not any(self._violated(name) for name in readable):
                raise
            tally.add(Status.INCONCLUSIVE, "the answers have not the form that this check reads")
            return
        tally.judged += len(readable)
        tally.findings += [(", ".join(readable) if len(readable) < 4 else requirement.uses[0], item) for item in found]
        tally.add(Status.PASS, "")

    def _follow_rule(self, rule: str, exchange: Exchange, answer: Answer, tally: _Tally) -> None:
        obstacle = _obstacle(exchange, answer, Needs.COMPLETE)
        if obstacle is not None:
            tally.add(*obstacle)
            return
        tally.judged += 1
        tally.add(Status.PASS, "")
        status = answer.status
        expected = " or ".join(map(str, exchange.expect))
        match rule:
            case "answered" if status != 200:
                if exchange.optional and honest_refusal(answer):
                    tally.statuses[-1] = Status.UNSUPPORTED
                    tally.reasons[-1] = _refusal(answer)
                elif exchange.optional and status >= 500:
                    tally.statuses[-1] = Status.INCONCLUSIVE
                    tally.reasons[-1] = f"the server failed with {status}, which http.no-server-error tells"
                else:
                    tally.findings.append((exchange.name, Finding("status 200", _refusal(answer))))
            case "refused" if not 400 <= status < 500:
                accepted = 200 <= status < 300
                told = f"status {status}: the request was accepted" if accepted else f"status {status}"
                tally.findings.append((exchange.name, Finding("a client error (4xx)", told, silent=accepted)))
            case "status" if status not in exchange.expect:
                tally.findings.append((exchange.name, Finding(f"status {expected}", f"status {status}")))
            case _:
                pass

    def _schema_findings(self, requirement: Requirement, name: str) -> Iterator[Finding]:
        for violation in self._violated(name):
            if owner(violation) == requirement.id:
                if violation.place == "" and violation.of == oracle.ERROR:
                    actual = shown(violation.actual)
                else:
                    actual = f"{shown(violation.actual)} ({violation.message})"
                yield Finding(f"what {violation.of} says", actual, place=violation.place, sdk=violation.sdk)

    def _violated(self, name: str) -> list[oracle.Violation]:
        answer = self._answers[name]
        if "violations" not in answer.notes:
            answer.notes["violations"] = oracle.judge(answer)
        found: list[oracle.Violation] = answer.notes["violations"]
        return found


@cache
def looked_at(requirement: Requirement) -> tuple[str, ...]:
    """The exchanges that a requirement is judged on, those first that are sent for it.

    Of what is sent for others, a check can only read what is like the exchanges of its own.
    """
    exchanges = load_exchanges()
    own = exchanges[requirement.uses[0]]
    others = [
        name
        for name, exchange in exchanges.items()
        if "*" in requirement.also
        or (exchange.stream == own.stream and exchange.operation == own.operation and requirement.judges(name))
    ]
    return tuple(dict.fromkeys((*requirement.uses, *others)))


def _grave(requirement: Requirement, findings: Iterable[Finding]) -> Status:
    if requirement.level is not Level.MUST:
        return Status.WARN
    return Status.SILENT if all(finding.silent for finding in findings) else Status.FAIL


def _obstacle(exchange: Exchange, answer: Answer, needs: Needs) -> tuple[Status, str] | None:
    """Why an answer cannot be judged by a check, or None."""
    if answer.broken in {Broken.CONNECT, Broken.TIMEOUT, Broken.TOO_LARGE}:
        return Status.INCONCLUSIVE, f"{answer.broken}: {answer.detail}"
    if needs is Needs.ANY:
        return None
    if answer.broken:
        return Status.INCONCLUSIVE, f"{answer.broken}, which http.message-complete tells"
    if answer.status in INFRASTRUCTURE:
        return Status.INCONCLUSIVE, f"status {answer.status}: a limit or the infrastructure"
    if answer.status in {401, 403} and not exchange.needs_key:
        return Status.INCONCLUSIVE, f"status {answer.status}: the server did not take the key"
    if needs is Needs.COMPLETE:
        return None
    if needs is Needs.REFUSED:
        if 400 <= answer.status < 500 and answer.json is not MISSING:
            return None
        return Status.INCONCLUSIVE, f"status {answer.status}: there is no refusal to look at"
    return _unanswered(exchange, answer)


def _unanswered(exchange: Exchange, answer: Answer) -> tuple[Status, str] | None:
    if answer.abandoned:
        return Status.INCONCLUSIVE, "the kit closed the connection itself"
    if answer.status != 200:
        if exchange.optional and honest_refusal(answer):
            return Status.UNSUPPORTED, _refusal(answer)
        return Status.INCONCLUSIVE, f"not answered: {_refusal(answer)}"
    if exchange.stream and not answer.is_stream:
        return Status.INCONCLUSIVE, "not answered as a stream, which chat.stream.media-type tells"
    if not exchange.stream and answer.json is MISSING:
        return Status.INCONCLUSIVE, "the answer is no JSON, which http.json-parses tells"
    return None


def honest_refusal(answer: Answer) -> bool:
    """Whether a server says no: a client error, or 501. The form of it is another requirement's matter."""
    return 400 <= answer.status < 500 or answer.status == 501


def _refusal(answer: Answer) -> str:
    message = answer.get("error", "message")
    return f"status {answer.status}" + (f": {message}" if isinstance(message, str) else "")


def owner(violation: oracle.Violation) -> str:
    """The requirement that tells a violation: the one that names its place, else the one for the whole."""
    if violation.of == "types":
        return "sdk.types"
    best, depth = "", -1
    place = oracle.pattern(violation.place)
    for part_of, pattern, identifier in _owners():
        if part_of != violation.of:
            continue
        if (pattern == "" or _fits(place, pattern)) and len(pattern) > depth:
            best, depth = identifier, len(pattern)
    return best


def _fits(place: str, pattern: str) -> bool:
    """Whether a place lies at or below a pattern, step by step; ``*`` is any step."""
    steps, wanted = place.strip("/").split("/"), pattern.strip("/").split("/")
    if len(steps) < len(wanted):
        return False
    return all(b in {"*", a} for a, b in zip(steps, wanted, strict=False))


@cache
def _owners() -> list[tuple[str, str, str]]:
    return [
        (requirement.schema.of, pattern, requirement.id)
        for requirement in load_requirements().values()
        if requirement.schema
        for pattern in (requirement.schema.at or ("",))
    ]
