"""Made-up requests: schemathesis over every operation of the contract, its findings told as one family.

It runs in a process of its own, since its hooks are global; `fuzz_hooks` holds them. The clamp there keeps every
generation small. What it finds is folded by operation and check, so that a thousand examples of one fault are one line.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from rich.console import Console

from specserve.conformance import families
from specserve.conformance.budget import Price
from specserve.conformance.evidence import Finding
from specserve.conformance.judge import Outcome
from specserve.conformance.requirements import Level, Requirement
from specserve.conformance.runner import Run
from specserve.conformance.statuses import Status
from specserve.conformance.target import Limits
from specserve.spec import document

CHECKS = {
    "not_a_server_error": ("MUST", "never answer with a failure of its own"),
    "errors_come_in_the_envelope": ("MUST", "tell every error in the envelope"),
    "response_schema_conformance": ("MUST", "answer in the form that the contract gives"),
    "negative_data_rejection": ("SHOULD", "refuse what the contract does not allow"),
    "refusals_are_honest": ("SHOULD", "refuse valid requests only as unsupported, naming the parameter"),
}
_TIME_LIMIT = {False: 300.0, True: 1800.0}


@dataclass(frozen=True)
class End:
    """How a fuzzing run ended: what holds for all that nothing was found against."""

    status: Status
    reason: str = ""


def outcomes(run: Run, *, deep: bool, console: Console, price: Price | None = None) -> list[Outcome]:
    """Fuzz the target of a run; one outcome for each operation and check. What it spends is added to the run."""
    target = run.target
    console.print(f"fuzzing ({'deep' if deep else 'cheap'}), seed {target.seed}", highlight=False)
    operations = [
        operation.operation_id
        for operation in document.operations(document.load())
        if not operation.extension and families.profile_of(operation.operation_id) in target.profiles
    ]
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="specserve-fuzz-") as folder:
        findings = Path(folder) / "findings.jsonl"
        findings.touch()
        end = _run(run, operations, findings, deep=deep, price=price, console=console)
        lines = [json.loads(line) for line in findings.read_text(encoding="utf-8").splitlines()]
        spent = _spent(findings)
    run.requests += spent["requests"]
    run.billable += spent["billable"]
    run.tokens += spent["tokens"]
    run.usd += spent["usd"]
    seconds = time.monotonic() - started
    run.seconds += seconds
    console.print(_told(spent, len(lines), seconds), highlight=False)
    found: dict[tuple[str, str], list[Finding]] = {}
    for line in lines:
        key = (line["operation"], line["check"])
        found.setdefault(key, []).append(Finding(line["expected"], f"{line['actual']} for {line['request']}"))
    return [
        _outcome(operation, check, found.get((operation, check), []), end)
        for operation in operations
        for check in CHECKS
    ]


def _spent(findings: Path) -> dict[str, Any]:
    try:
        spent: dict[str, Any] = json.loads(findings.with_suffix(".spent").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {"requests": 0, "billable": 0, "tokens": 0, "usd": 0.0}
    return spent


def _told(spent: Mapping[str, Any], found: int, seconds: float) -> str:
    return f"fuzzing: {spent['requests']} requests, {found} findings, {seconds:.0f} s"


def _outcome(operation: str, check: str, findings: list[Finding], end: End) -> Outcome:
    level, words = CHECKS[check]
    slug = check.replace("_", "-")
    requirement = Requirement(
        id=f"fuzz.{operation}.{slug}",
        text=f"{operation} {level} {words}, whatever it is sent.",
        level=Level(level),
        family="fuzz",
        profile=families.profile_of(operation),
        operation=operation,
        pointer="#/paths",
        uses=(),
        also=(),
        determinism="sampled",
        sdk=False,
        rule=None,
        schema=None,
        mutants=(),
        known=(),
    )
    if findings:
        grave = Status.FAIL if level == "MUST" else Status.WARN
        return Outcome(
            requirement, grave, "", tuple((f"fuzz.{operation}", found) for found in findings[:3]), len(findings)
        )
    return Outcome(requirement, end.status, end.reason)


def _run(run: Run, operations: list[str], findings: Path, *, deep: bool, price: Price | None, console: Console) -> End:
    target = run.target
    phases = "examples,coverage,fuzzing,stateful" if deep else "examples,fuzzing"
    command = [sys.executable, "-m", "schemathesis.cli", "run"]
    command += [str(files("specserve.spec").joinpath("swagger.yaml")), "--url", target.url, "--seed", str(target.seed)]
    command += ["--phases", phases, "--max-examples", "60" if deep else "12", "--workers", "1", "--no-color"]
    command += ["--request-timeout", str(target.timeout), "--continue-on-failure"]
    for operation in operations:
        command += ["--include-operation-id", operation]
    left = _left(run)
    seconds = _TIME_LIMIT[deep] if left.seconds is None else min(left.seconds, _TIME_LIMIT[deep])
    environ = {
        **os.environ,
        "SCHEMATHESIS_HOOKS": "specserve.conformance.fuzz_hooks",
        "SPECSERVE_FUZZ_FINDINGS": str(findings),
        "SPECSERVE_FUZZ_CHAT": target.model,
        "SPECSERVE_FUZZ_EMBEDDING": target.embedding_model,
        "SPECSERVE_FUZZ_KEY": target.api_key or "",
        "SPECSERVE_FUZZ_HEADERS": json.dumps(dict(target.headers)),
        "SPECSERVE_FUZZ_CAPS": json.dumps({"limits": asdict(left), "price": asdict(price) if price else None}),
    }
    output, errors = findings.with_suffix(".out"), findings.with_suffix(".err")
    until = time.monotonic() + seconds
    with output.open("wb") as out, errors.open("wb") as err, console.status("fuzzing") as status:
        process = subprocess.Popen(command, env=environ, cwd=findings.parent, stdout=out, stderr=err)  # noqa: S603  our own interpreter, arguments as a list
        while process.poll() is None:
            if time.monotonic() > until:
                process.kill()
                process.wait()
                capped = left.seconds is not None and left.seconds <= seconds
                return End(Status.NOT_RUN if capped else Status.INCONCLUSIVE, f"not finished after {seconds:.0f} s")
            status.update(_told(_spent(findings), _lines(findings), time.monotonic() - until + seconds))
            time.sleep(0.2)
    return _end(process.returncode, findings, output.read_text(errors="replace"), errors.read_text(errors="replace"))


def _end(code: int, findings: Path, output: str, errors: str) -> End:
    stopped = findings.with_suffix(".stopped")
    if stopped.exists():
        return End(Status.NOT_RUN, stopped.read_text(encoding="utf-8"))
    if code not in {0, 1} or "Traceback" in errors:
        tail = (errors or output).strip().splitlines()[-1:]
        return End(Status.ERROR, f"schemathesis ended with {code}: {' '.join(tail)[:200]}")
    if not findings.with_suffix(".spent").exists() or re.search(r"^\s+Errored: [1-9]", output, re.MULTILINE):
        return End(Status.ERROR, "schemathesis could not send all that it made up")
    return End(Status.PASS)


def _left(run: Run) -> Limits:
    """What the caps leave after the requests of the run itself."""
    caps = run.target.limits
    return Limits(
        requests=None if caps.requests is None else max(0, caps.requests - run.billable),
        tokens=None if caps.tokens is None else max(0, caps.tokens - run.tokens),
        seconds=None if caps.seconds is None else max(0.0, caps.seconds - run.seconds),
        usd=None if caps.usd is None else max(0.0, caps.usd - run.usd),
    )


def _lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for _ in file)
