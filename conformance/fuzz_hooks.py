"""schemathesis hooks: the key, a clamp on tokens, event streams as OpenAI sends them, and where findings go.

Loaded by schemathesis in a process of its own (see `fuzz`), never imported by the kit.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import schemathesis
from schemathesis import HookContext

from specserve.conformance import exchanges, oracle, sse
from specserve.conformance.budget import Budget, Cost, Price
from specserve.conformance.evidence import MISSING, shown
from specserve.conformance.target import Limits

MOST_TOKENS = 8
MOST_DIMENSIONS = 4096
_FINDINGS = Path(os.environ.get("SPECSERVE_FUZZ_FINDINGS", os.devnull))
_CHAT = os.environ.get("SPECSERVE_FUZZ_CHAT", "")
_EMBEDDING = os.environ.get("SPECSERVE_FUZZ_EMBEDDING", "")
_KEY = os.environ.get("SPECSERVE_FUZZ_KEY", "")
_HEADERS = json.loads(os.environ.get("SPECSERVE_FUZZ_HEADERS", "{}"))
_CAPS = json.loads(os.environ.get("SPECSERVE_FUZZ_CAPS", '{"limits": {}, "price": null}'))
_BUDGET = Budget(Limits(**_CAPS["limits"]), Price(**_CAPS["price"]) if _CAPS["price"] else None)


@schemathesis.deserializer("text/event-stream")
def event_payloads(_context: Any, response: Any) -> list[Any]:
    """The contract describes the JSON of one event; schemathesis would look for the envelope of an event."""
    return [json.loads(event.data) for event in sse.parse(response.content) if event.data != "[DONE]"]


@schemathesis.hook
def before_call(_context: HookContext, case: Any, _kwargs: dict[str, Any]) -> None:
    """Send the key; ask for models that exist, and for few tokens: the protocol is on trial, not the budget."""
    key = {"authorization": f"Bearer {_KEY}"} if _KEY else {}
    case.headers = {**(case.headers or {}), **_HEADERS, **key}
    if isinstance(case.body, dict):
        _clamp(case.body)
    _spend(case)


def _clamp(body: dict[str, Any]) -> None:
    if isinstance(body.get("model"), str) and len(body["model"]) % 5:
        body["model"] = _EMBEDDING if "input" in body else _CHAT
    if type(body.get("dimensions")) is int and body["dimensions"] > MOST_DIMENSIONS:
        body["dimensions"] = MOST_DIMENSIONS
    if "input" in body:
        return
    for name, most in (("n", 2), ("best_of", 2), ("max_tokens", MOST_TOKENS), ("max_completion_tokens", MOST_TOKENS)):
        if type(body.get(name)) is int and body[name] > most:
            body[name] = most
    if "messages" in body and body.get("max_completion_tokens") is None and body.get("max_tokens") is None:
        body["max_completion_tokens"] = MOST_TOKENS


def _spend(case: Any) -> None:
    """Count the request before it goes out, so that no cap is ever passed; the process ends where one would be."""
    operation = case.operation.definition.raw.get("operationId", "")
    generates = operation in exchanges.generative() and isinstance(case.body, dict)
    cost = exchanges.most(operation, case.body) if generates else Cost(billable=False)
    reason = _BUDGET.refusal(cost)
    if reason is not None:
        _FINDINGS.with_suffix(".stopped").write_text(reason, encoding="utf-8")
        os._exit(0)
    _BUDGET.spend(cost)
    spent = {name: getattr(_BUDGET, name) for name in ("requests", "billable", "tokens", "usd")}
    # Replaced as a whole: the kit reads it meanwhile.
    fresh = _FINDINGS.with_suffix(".new")
    fresh.write_text(json.dumps(spent), encoding="utf-8")
    fresh.replace(_FINDINGS.with_suffix(".spent"))


@schemathesis.hook
def after_call(_context: HookContext, case: Any, response: Any) -> None:
    """Judge with the kit's own oracle and write down what is wrong; the checks of schemathesis only drive the run."""
    for check, expected, actual in _problems(case, response):
        line = {
            "operation": case.operation.definition.raw.get("operationId", ""),
            "check": check,
            "expected": expected,
            "actual": actual,
            "request": shown(case.body, 200),
        }
        with _FINDINGS.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False, default=str) + "\n")


def _problems(case: Any, response: Any) -> list[tuple[str, str, str]]:
    found = []
    status = response.status_code
    operation = case.operation.definition.raw.get("operationId", "")
    if status >= 500 and status not in {501, 502, 503, 504}:
        found.append(("not_a_server_error", "a status below 500", f"status {status}"))
    try:
        value: Any = response.json()
    except ValueError:
        value = MISSING
    method = str(case.method).upper()
    if status >= 400 and method != "HEAD":
        problems = oracle.violations(oracle.ERROR, value)
        if problems:
            place = problems[0].place or "the body"
            found.append(("errors_come_in_the_envelope", "the error envelope", f"{place} {problems[0].message}"[:200]))
    of = oracle.components("application/json").get(operation)
    if status == 200 and value is not MISSING and of is not None:
        problems = oracle.violations(of, value)
        if problems:
            actual = f"{problems[0].place} {problems[0].message}"[:200]
            found.append(("response_schema_conformance", f"what {of} says", actual))
    found += _honesty(case, operation, status, value)
    return found


def _honesty(case: Any, operation: str, status: int, value: Any) -> list[tuple[str, str, str]]:
    """Whether what the contract allows is taken or honestly refused, and what it does not allow is refused."""
    if operation not in exchanges.generative() or not isinstance(case.body, dict):
        return []
    valid = not oracle.request_problems(operation, case.body)
    if not valid and status == 200:
        return [("negative_data_rejection", "a client error", "status 200")]
    error = value.get("error") if isinstance(value, dict) else None
    claims = {"invalid_type", "invalid_value", "missing_required_parameter", "unknown_parameter"}
    if (
        valid
        and status in {400, 422}
        and isinstance(error, dict)
        and (error.get("code") in claims or not error.get("param"))
    ):
        return [("refusals_are_honest", "a refusal that names the parameter", shown(error, 200))]
    return []
