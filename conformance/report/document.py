"""The document that every report is made from; `results.json` holds it, `results.schema.json` describes it."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import shlex
from collections import Counter
from functools import cache
from importlib.resources import files
from typing import Any

from specserve.conformance.evidence import Answer, Finding, shown
from specserve.conformance.exchanges import load as load_exchanges
from specserve.conformance.judge import Absent, Outcome
from specserve.conformance.redaction import Redactor
from specserve.conformance.runner import Run
from specserve.conformance.statuses import Status

FORMAT = 1
_BODY_SHOWN = 6000
_EVENTS_SHOWN = 60


@cache
def spec_sha256() -> str:
    """The hash of the contract that was judged by."""
    return hashlib.sha256(files("specserve.spec").joinpath("swagger.yaml").read_bytes()).hexdigest()


def version() -> str:
    """The kit's version."""
    return importlib.metadata.version("specserve")


def make(run: Run) -> dict[str, Any]:
    """Write a run down, without keys."""
    target = run.target
    redact = Redactor([target.api_key])
    statuses = Counter(outcome.status for outcome in run.outcomes)
    document = {
        "format": FORMAT,
        "kit": {"name": "specserve-conformance", "version": version(), "spec_sha256": spec_sha256()},
        "target": {
            "base_url": target.url,
            "model": target.model,
            "embedding_model": target.embedding_model,
            "profiles": list(target.profiles),
            "server": next((name for a in run.answers.values() if (name := a.header("server"))), None),
        },
        "caps": {
            "requests": target.limits.requests,
            "tokens": target.limits.tokens,
            "seconds": target.limits.seconds,
            "usd": target.limits.usd,
            "allow": sorted(target.allow),
            "timeout": target.timeout,
        },
        "spent": {
            "requests": run.requests,
            "billable_requests": run.billable,
            "worst_case_tokens": run.tokens,
            "worst_case_usd": round(run.usd, 6),
            "reported_tokens": run.tokens_reported,
        },
        "seed": target.seed,
        "started": run.started.isoformat(timespec="seconds"),
        "seconds": round(run.seconds, 3),
        "verdicts": {"strict": run.strict, "sdk": run.sdk},
        "exit_code": run.exit_code,
        "counts": {status.value: statuses[status] for status in Status},
        "requirements": [_requirement(outcome, redact) for outcome in run.outcomes],
        "exchanges": {name: _exchange(answer, redact) for name, answer in run.answers.items()},
        "not_sent": {name: _absent(absent, redact) for name, absent in run.absent.items()},
    }
    plain: dict[str, Any] = json.loads(json.dumps(document))
    return plain


def _requirement(outcome: Outcome, redact: Redactor) -> dict[str, Any]:
    requirement = outcome.requirement
    return {
        "id": requirement.id,
        "text": requirement.text,
        "level": requirement.level.value,
        "profile": requirement.profile,
        "family": requirement.family,
        "operation": requirement.operation,
        "pointer": requirement.pointer,
        "determinism": requirement.determinism,
        "cost": requirement.cost(load_exchanges()),
        "status": outcome.status.value,
        "sdk_status": outcome.sdk_status.value,
        "reason": redact.text(outcome.reason),
        "judged": outcome.judged,
        "findings": [_finding(name, finding, redact) for name, finding in outcome.findings[:10]],
        "findings_left_out": max(0, len(outcome.findings) - 10),
    }


def _finding(exchange: str, finding: Finding, redact: Redactor) -> dict[str, Any]:
    return {
        "exchange": exchange,
        "expected": redact.text(finding.expected),
        "actual": redact.text(shown(finding.actual)),
        "place": finding.place,
        "silent": finding.silent,
    }


def _absent(absent: Absent, redact: Redactor) -> dict[str, str]:
    return {"status": absent.status.value, "reason": redact.text(absent.reason)}


def _exchange(answer: Answer, redact: Redactor) -> dict[str, Any]:
    sent = answer.sent
    body = sent.body.decode(errors="backslashreplace")
    return {
        "request": {
            "method": sent.method,
            "url": redact.text(sent.url),
            "headers": redact.headers(sent.headers),
            "body": redact.text(_short(body)),
            "sha256": hashlib.sha256(sent.body).hexdigest(),
            "curl": redact.text(_curl(answer, body)),
        },
        "response": {
            "status": answer.status,
            "headers": redact.headers(answer.headers),
            "body": redact.text(_short(answer.body.decode(errors="backslashreplace"))),
            "bytes": len(answer.body),
            "events": len(answer.events),
            "event_times": [round(timed.at, 4) for timed in answer.events[:_EVENTS_SHOWN]],
        },
        "broken": answer.broken.value if answer.broken else None,
        "detail": redact.text(answer.detail),
        "first_byte_seconds": round(answer.first_byte, 4),
        "seconds": round(answer.seconds, 4),
        "attempts": answer.attempts,
    }


def _curl(answer: Answer, body: str) -> str:
    sent = answer.sent
    words = ["curl", "-i", "-N", "-X", sent.method] if sent.method != "HEAD" else ["curl", "-I"]
    words.append(shlex.quote(sent.url))
    for name, value in sent.headers:
        if name == "authorization":
            scheme, _, key = value.partition(" ")
            known = key and not key.startswith("specserve-conformance")
            words += ["-H", f'"authorization: {scheme} {"$OPENAI_API_KEY" if known else key}"']
        elif name not in {"accept-encoding", "accept"}:
            words += ["-H", shlex.quote(f"{name}: {value}")]
    if body:
        words += ["-d", shlex.quote(body) if len(body) < _BODY_SHOWN else "@body.json"]
    return " ".join(words)


def _short(text: str) -> str:
    return text if len(text) <= _BODY_SHOWN else f"{text[:_BODY_SHOWN]}... ({len(text)} characters)"
