"""Judge requests and answers against the contract, with code that the server does not use.

The contract is read with `jsonschema`; the official client's own types are asked about the same answers, so that an
error in our copy of the contract does not judge itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from specserve.conformance.evidence import MISSING, Answer
from specserve.spec import document
from specserve.spec.json_schema import to_json_schema

ERROR = "ErrorResponse"
MOST_ERRORS = 500
"""Errors of one document that are looked at: each holds a copy of what it is about."""


@dataclass(frozen=True)
class Violation:
    """Where an answer differs from the contract.

    Attributes:
        of: The component that it should conform to.
        place: JSON pointer into the document.
        message: What is wrong, in the words of the validator.
        actual: What stands there.
        sdk: Whether the official client's types refuse it as well; None if they do not judge it.
    """

    of: str
    place: str
    message: str
    actual: Any
    sdk: bool | None = None


@cache
def components(media_type: str) -> Mapping[str, str]:
    """OperationId -> the component that its answers of this media type conform to; of a stream, its events."""
    contract = document.load()
    found = {
        operation.operation_id: document.answer_component(contract, operation, media_type)
        for operation in document.operations(contract)
    }
    return {operation: component for operation, component in found.items() if component is not None}


def violations(of: str, instance: Any) -> list[Violation]:
    """How a document differs from a component of the contract."""
    seen: dict[str, Violation] = {}
    for error in islice(_validator(of).iter_errors(instance), MOST_ERRORS):
        for leaf in _leaves(error):
            for place, actual, message in _places(leaf):
                seen.setdefault(place, Violation(of, place, message, actual))
    return list(seen.values())


def of_answer(answer: Answer) -> Iterator[tuple[str, Any]]:
    """The documents of an answer, each with the component that it should conform to."""
    if answer.status >= 400:
        if answer.sent.method != "HEAD":
            yield ERROR, answer.json
        return
    operation = answer.sent.operation
    if answer.status != 200 or operation is None:
        return
    of = components("text/event-stream" if answer.is_stream else "application/json").get(operation)
    if of is None:
        return
    if answer.is_stream:
        for payload in answer.payloads:
            if payload is not MISSING:
                yield (ERROR if isinstance(payload, Mapping) and "error" in payload else of), payload
    elif answer.json is not MISSING:
        yield of, answer.json


def judge(answer: Answer) -> list[Violation]:
    """Where an answer differs from the contract, each place once, with the client's opinion."""
    from specserve.conformance import client_types

    found: dict[tuple[str, str], Violation] = {}
    for of, instance in of_answer(answer):
        if instance is MISSING:
            found.setdefault((of, ""), Violation(of, "", "is no JSON", answer.body[:200].decode(errors="replace")))
            continue
        refused = client_types.refused(of, instance)
        for violation in violations(of, instance):
            sdk = any(_covers(place, violation.place) for place in refused)
            found.setdefault(
                (of, pattern(violation.place)),
                Violation(of, violation.place, violation.message, violation.actual, sdk),
            )
        for place, message in refused.items():
            here = pattern(place)
            if not any(_covers(here, pattern(v.place)) or _covers(pattern(v.place), here) for v in found.values()):
                found.setdefault(("types", pattern(place)), Violation("types", place, message, None, sdk=True))
    return list(found.values())


def request_problems(operation_id: str, body: Any) -> list[str]:
    """Why a request body does not conform to the contract; empty if it does."""
    return [f"{error.json_path}: {error.message[:200]}" for error in _request_validator(operation_id).iter_errors(body)]


def pattern(place: str) -> str:
    """A place with ``*`` for every index, so that the same fault in each item is told once."""
    return re.sub(r"/\d+(?=/|$)", "/*", place)


def _covers(outer: str, inner: str) -> bool:
    return inner == outer or inner.startswith(f"{outer}/")


@cache
def _validator(of: str) -> Draft202012Validator:
    return Draft202012Validator(to_json_schema(document.load(), f"#/components/schemas/{of}"))


@cache
def _request_validator(operation_id: str) -> Draft202012Validator:
    contract = document.load()
    return Draft202012Validator(to_json_schema(contract, document.request_schema(contract, operation_id)))


def _leaves(error: ValidationError) -> Iterator[ValidationError]:
    """Look into unions: the branch that fits best tells more than "matches none"."""
    if error.validator not in {"anyOf", "oneOf"} or not error.context:
        yield error
        return
    branches: dict[int, list[ValidationError]] = {}
    for inner in error.context:
        branches.setdefault(int(inner.schema_path[0]), []).append(inner)
    fitting = [errors for errors in branches.values() if not any(_refuses_all(inner, error) for inner in errors)]
    if len(fitting) == 1:
        for inner in fitting[0]:
            yield from _leaves(inner)
    else:
        yield error


def _refuses_all(inner: ValidationError, outer: ValidationError) -> bool:
    """Whether a branch was refused for the type or the constant tag of the whole value."""
    here = len(inner.absolute_path) == len(outer.absolute_path)
    tag = len(inner.absolute_path) == len(outer.absolute_path) + 1 and inner.absolute_path[-1] == "type"
    return (here and inner.validator in {"type", "enum", "const"}) or (tag and inner.validator in {"enum", "const"})


def _places(error: ValidationError) -> Iterator[tuple[str, Any, str]]:
    place = "".join(f"/{_escape(str(step))}" for step in error.absolute_path)
    if error.validator == "required" and isinstance(error.instance, Mapping):
        names: Any = error.validator_value
        for name in names:
            if name not in error.instance:
                yield f"{place}/{_escape(name)}", MISSING, "is missing"
        return
    yield place, error.instance, error.message[:300]


def _escape(step: str) -> str:
    return step.replace("~", "~0").replace("/", "~1")
