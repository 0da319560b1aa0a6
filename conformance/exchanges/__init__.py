"""The requests that the kit may send, as data: each feeds as many checks as it can."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from specserve.conformance import families
from specserve.conformance.budget import UNBOUNDED_ANSWER, Cost
from specserve.spec import document


@cache
def generative() -> frozenset[str]:
    """The operations that a model does, so that a provider bills them."""
    return frozenset(o.operation_id for o in document.operations(document.load()) if o.ability is not None)


@dataclass(frozen=True)
class Exchange:
    """One request, with placeholders (``$model``) where the target decides.

    Attributes:
        name: ``family.what``.
        operation: The operationId that it speaks to, if any.
        method: HTTP method.
        path: Path under the base address, with placeholders.
        profile: Sent only if the target declares it.
        body: The JSON body, `None` if there is none or `raw` stands in its place.
        raw: The body as text, for what is no JSON.
        content_type: Of the body.
        encoding: ``gzip`` compresses the body and says so.
        headers: Additional ones.
        auth: ``key``, ``none``, ``wrong``, ``scheme`` or ``lower``: which Authorization goes out.
        needs_key: Makes sense only for a target with a key.
        expect: The statuses that answer it properly.
        valid: Whether it conforms to the contract; the kit checks that before sending.
        optional: The server may refuse it honestly, with a client error.
        abandon: The kit closes the connection after the first event.
        after: The exchange that goes before; its answer fills ``$piece``, ``$message`` and ``$tool_result``.
        category: ``free``, ``cheap`` or ``costly``; the latter needs a yes.
        billable: Whether a provider would bill it.
    """

    name: str
    operation: str | None
    method: str
    path: str
    profile: str
    body: Any = None
    raw: str | None = None
    content_type: str = "application/json"
    encoding: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    auth: str = "key"
    needs_key: bool = False
    expect: tuple[int, ...] = (200,)
    valid: bool = True
    optional: bool = False
    abandon: bool = False
    after: str | None = None
    category: str = "free"
    billable: bool = False

    @property
    def stream(self) -> bool:
        """Whether it asks for an event stream."""
        return isinstance(self.body, Mapping) and self.body.get("stream") is True

    @property
    def negative(self) -> bool:
        """Whether the server must refuse it."""
        return 200 not in self.expect


def worst_case(exchange: Exchange, body: Any) -> Cost:
    """The most that a request can cost; one that the server must refuse is taken to cost nothing."""
    if not exchange.billable or not isinstance(body, Mapping):
        return Cost(exchange.billable)
    return most(exchange.operation, body)


def most(operation: str | None, body: Mapping[str, Any]) -> Cost:
    """A token for every third character, and the full limit of every answer; the body may be wrong in any way."""
    prompt = len(str({key: body.get(key) for key in ("messages", "prompt", "input", "tools", "response_format")})) // 3
    if operation == "createEmbedding":
        return Cost(billable=True, prompt_tokens=prompt)
    limits = [_count(body.get(name)) for name in ("max_completion_tokens", "max_tokens")]
    limit = next((limit for limit in limits if limit), UNBOUNDED_ANSWER)
    choices = max(_count(body.get("n")) or 1, _count(body.get("best_of")) or 1)
    prompts = max(1, len(body["prompt"])) if isinstance(body.get("prompt"), list) else 1
    return Cost(billable=True, prompt_tokens=prompt, completion_tokens=limit * choices * prompts)


def _count(value: Any) -> int:
    return value if type(value) is int and value > 0 else 0


@cache
def load() -> dict[str, Exchange]:
    """All exchanges by name: free ones first, then in the order of the files."""
    operations = {operation.operation_id: operation for operation in document.operations(document.load())}
    found = [
        _exchange(family, name, row, operations)
        for family in families.load().values()
        for name, row in family.exchanges.items()
    ]
    ordered = sorted(found, key=lambda exchange: exchange.billable or exchange.after is not None)
    return {exchange.name: exchange for exchange in ordered}


def _exchange(
    family: families.Family, name: str, row: Mapping[str, Any], operations: Mapping[str, document.Operation]
) -> Exchange:
    row = dict(row)
    operation = operations[row["operation"]] if "operation" in row else None
    expect = tuple(row.pop("expect", (400, 422) if family.name == "errors" else (200,)))
    positive = 200 in expect
    generates = operation is not None and operation.operation_id in generative()
    billable = bool(row.pop("billable", positive and generates))
    return Exchange(
        name=name,
        operation=row.pop("operation", None),
        method=row.pop("method", operation.method.upper() if operation else "GET"),
        path=row.pop("path", operation.path if operation else "/"),
        profile=row.pop("profile", family.profile),
        expect=expect,
        valid=bool(row.pop("valid", expect == (200,))),
        category=row.pop("class", "cheap" if billable else "free"),
        billable=billable,
        **row,
    )
