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
from importlib.resources import files
from pathlib import Path

from rich.console import Console

from specserve.conformance.evidence import Finding
from specserve.conformance.judge import Outcome
from specserve.conformance.requirements import Level, Requirement
from specserve.conformance.runner import Run
from specserve.conformance.statuses import Status
from specserve.spec import document

CHECKS = {
    "not_a_server_error": ("MUST", "never answer with a failure of its own"),
    "errors_come_in_the_envelope": ("MUST", "tell every error in the envelope"),
    "response_schema_conformance": ("MUST", "answer in the form that the contract gives"),
    "negative_data_rejection": ("SHOULD", "refuse what the contract does not allow"),
    "refusals_are_honest": ("SHOULD", "refuse valid requests only as unsupported, naming the parameter"),
}
_TIME_LIMIT = {False: 300.0, True: 1800.0}
_PROFILE = {"createCompletion": "completions", "createEmbedding": "embeddings"}


def outcomes(run: Run, *, deep: bool, console: Console) -> list[Outcome]:
    """Fuzz the target of a run; one outcome for each operation and check."""
    target = run.target
    console.print(f"fuzzing, seed {target.seed}", highlight=False)
    operations = [
        operation.operation_id
        for operation in document.operations(document.load())
        if not operation.extension and _PROFILE.get(operation.operation_id, "core") in target.profiles
    ]
    with tempfile.TemporaryDirectory(prefix="specserve-fuzz-") as folder:
        findings = Path(folder) / "findings.jsonl"
        findings.touch()
        status, reason = _run(run, operations, findings, deep=deep)
        lines = [json.loads(line) for line in findings.read_text(encoding="utf-8").splitlines()]
    found: dict[tuple[str, str], list[Finding]] = {}
    for line in lines:
        key = (line["operation"], line["check"])
        found.setdefault(key, []).append(Finding(line["expected"], f"{line['actual']} for {line['request']}"))
    return [
        _outcome(operation, check, found.get((operation, check), []), status, reason)
        for operation in operations
        for check in CHECKS
    ]


def _outcome(operation: str, check: str, findings: list[Finding], status: Status, reason: str) -> Outcome:
    level, words = CHECKS[check]
    slug = check.replace("_", "-")
    requirement = Requirement(
        id=f"fuzz.{operation}.{slug}",
        text=f"{operation} {level} {words}, whatever it is sent.",
        level=Level(level),
        family="fuzz",
        profile=_PROFILE.get(operation, "core"),
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
    return Outcome(requirement, status, reason)


def _run(run: Run, operations: list[str], findings: Path, *, deep: bool) -> tuple[Status, str]:
    target = run.target
    phases = "examples,coverage,fuzzing,stateful" if deep else "examples,fuzzing"
    command = [sys.executable, "-m", "schemathesis.cli", "run"]
    command += [str(files("specserve.spec").joinpath("swagger.yaml")), "--url", target.url, "--seed", str(target.seed)]
    command += ["--phases", phases, "--max-examples", "60" if deep else "12", "--workers", "1", "--no-color"]
    command += ["--request-timeout", str(target.timeout), "--continue-on-failure"]
    for operation in operations:
        command += ["--include-operation-id", operation]
    environ = {
        **os.environ,
        "SCHEMATHESIS_HOOKS": "specserve.conformance.fuzz_hooks",
        "SPECSERVE_FUZZ_FINDINGS": str(findings),
        "SPECSERVE_FUZZ_CHAT": target.model,
        "SPECSERVE_FUZZ_EMBEDDING": target.embedding_model,
        "SPECSERVE_FUZZ_KEY": target.api_key or "",
    }
    try:
        done = subprocess.run(  # noqa: S603  our own interpreter, arguments as a list
            command,
            env=environ,
            cwd=findings.parent,
            capture_output=True,
            text=True,
            timeout=_TIME_LIMIT[deep],
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Status.INCONCLUSIVE, f"not finished after {_TIME_LIMIT[deep]:g} s"
    if done.returncode not in {0, 1} or "Traceback" in done.stderr:
        tail = (done.stderr or done.stdout).strip().splitlines()[-1:]
        return Status.ERROR, f"schemathesis ended with {done.returncode}: {' '.join(tail)[:200]}"
    if not findings.with_suffix(".sent").exists() or re.search(r"^\s+Errored: [1-9]", done.stdout, re.MULTILINE):
        return Status.ERROR, "schemathesis could not send all that it made up"
    return Status.PASS, ""
