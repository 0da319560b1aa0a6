"""Calls of functions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from specserve.conformance.checks import NothingShown, check
from specserve.conformance.checks.chat import choices
from specserve.conformance.checks.stream import summary
from specserve.conformance.evidence import MISSING, Answer, Finding, dig, items
from specserve.conformance.stream import Call


def calls(answer: Answer) -> list[Any]:
    """The calls of a plain answer."""
    return [call for choice in choices(answer) for call in items(dig(choice, "message", "tool_calls"))]


def _names(answer: Answer) -> list[Any]:
    return [dig(call, "function", "name") for call in calls(answer)]


def _given(answer: Answer) -> dict[str, Any]:
    """The functions of the request: name and parameters."""
    tools = items(dig(answer.sent.json, "tools"))
    return {dig(tool, "function", "name"): dig(tool, "function", "parameters") for tool in tools}


def _cut(answer: Answer) -> bool:
    return bool(answer.get("choices", 0, "finish_reason") == "length")


def _called(answer: Answer) -> list[Any]:
    """The calls, where a check has nothing to say without one."""
    found = calls(answer)
    if not found:
        msg = "nothing was called, which tools.named and tools.required tell"
        raise NothingShown(msg)
    return found


def no_call(wanted: str, text: str, *, cut: bool) -> Finding:
    """Nothing was called. The limit allows several calls: text up to it is no call either, but thoughts may be cut."""
    if cut and not says_something(text):
        msg = "the limit cut the answer before a call"
        raise NothingShown(msg)
    return Finding(wanted, text or "no call", silent=True)


def says_something(text: str) -> bool:
    """Whether a text is one for the reader, not thoughts that a server leaves in it."""
    return text.strip() != "" and not text.lstrip().startswith("<think")


@check("tools.named")
def named(answer: Answer) -> Iterator[Finding]:
    """This one and no other."""
    wanted = dig(answer.sent.json, "tool_choice", "function", "name")
    if not calls(answer):
        yield no_call(f"a call of {wanted}", answer.text, cut=_cut(answer))
    elif any(name != wanted for name in _names(answer)):
        yield Finding(f"a call of {wanted}", _names(answer))


@check("tools.required")
def required(answer: Answer) -> Iterator[Finding]:
    """One of those that were given."""
    if not calls(answer):
        yield no_call("a call", answer.text, cut=_cut(answer))
    for name in _names(answer):
        if name not in _given(answer):
            yield Finding(f"a call of one of {sorted(_given(answer))}", name)


@check("tools.none")
def none(answer: Answer) -> Iterator[Finding]:
    """Text only."""
    if calls(answer):
        yield Finding("no call", _names(answer), silent=True)


@check("tools.single")
def single(answer: Answer) -> Iterator[Finding]:
    """Not two."""
    if len(_called(answer)) > 1:
        yield Finding("at most one call", _names(answer), silent=True)


@check("tools.arguments-json")
def arguments_json(answer: Answer) -> Iterator[Finding]:
    """An object by name."""
    for call in _called(answer):
        arguments = dig(call, "function", "arguments")
        if isinstance(arguments, str) and not _cut(answer) and not isinstance(_load(arguments), dict):
            yield Finding("a JSON object", arguments)
            return


@check("tools.arguments-schema")
def arguments_schema(answer: Answer) -> Iterator[Finding]:
    """What the function takes."""
    for call in _called(answer):
        arguments = _load(dig(call, "function", "arguments"))
        parameters = _given(answer).get(dig(call, "function", "name"))
        if isinstance(arguments, dict) and isinstance(parameters, dict):
            problem = fits(parameters, arguments)
            if problem:
                yield Finding("arguments that the function takes", f"{arguments}: {problem}")
                return


@check("tools.id")
def identifier(answer: Answer) -> Iterator[Finding]:
    """The result is sent back under it."""
    if any(dig(call, "id") == "" for call in _called(answer)):
        yield Finding("an id", "an empty string")


@check("tools.ids-unique")
def ids_unique(answer: Answer) -> Iterator[Finding]:
    """Two results cannot be sent back under one name."""
    ids = [dig(call, "id") for call in _called(answer)]
    ids = [name for name in ids if isinstance(name, str)]
    if len(set(ids)) != len(ids):
        yield Finding("another id for each call", ids)


@check("tools.finish-reason")
def finish_reason(answer: Answer) -> Iterator[Finding]:
    """OpenAI itself says `stop` where a function was named."""
    _called(answer)
    allowed = {"tool_calls", "length"} | ({"stop"} if isinstance(dig(answer.sent.json, "tool_choice"), dict) else set())
    reason = answer.get("choices", 0, "finish_reason")
    if isinstance(reason, str) and reason not in allowed:
        yield Finding(f"one of {sorted(allowed)}", reason)


def _stream_calls(answer: Answer) -> list[Call]:
    choice = summary(answer).choices.get(0)
    return [call for _, call in sorted(choice.calls.items())] if choice else []


def _stream_reason(answer: Answer) -> str | None:
    choice = summary(answer).choices.get(0)
    return choice.finish_reason if choice else None


@check("tools.stream.calls")
def stream_calls(answer: Answer) -> Iterator[Finding]:
    """As without streaming."""
    if not _stream_calls(answer):
        yield no_call("a call", answer.streamed_text, cut=_stream_reason(answer) == "length")


def _streamed(answer: Answer) -> list[Call]:
    """The calls, where a check has nothing to say without one."""
    found = _stream_calls(answer)
    if not found:
        msg = "nothing was called, which tools.stream.calls tells"
        raise NothingShown(msg)
    return found


def _register(requirement: str, rule: str) -> None:
    @check(requirement)
    def follow(answer: Answer) -> Iterator[Finding]:
        _streamed(answer)
        yield from summary(answer).findings.get(rule, ())


_register("tools.stream.index", "call-index")
_register("tools.stream.head", "call-head")
_register("tools.stream.head-once", "call-head-once")
_register("tools.stream.name-once", "call-name-once")


@check("tools.stream.arguments")
def stream_arguments(answer: Answer) -> Iterator[Finding]:
    """Put together in order."""
    for call in _streamed(answer):
        if _stream_reason(answer) != "length" and not isinstance(_load(call.arguments), dict):
            yield Finding("a JSON object", call.arguments)
            return


@check("tools.stream.finish-reason")
def stream_finish_reason(answer: Answer) -> Iterator[Finding]:
    """The choice was required, not named."""
    _streamed(answer)
    reason = _stream_reason(answer)
    if isinstance(reason, str) and reason not in {"tool_calls", "length"}:
        yield Finding('finish_reason "tool_calls"', reason)


def fits(schema: dict[str, Any], value: Any) -> str | None:
    """Why a value does not conform to a schema; None if it does, or if the schema is none."""
    try:
        error = next(iter(Draft202012Validator(schema).iter_errors(value)), None)
    except SchemaError:
        return None
    return None if error is None else error.message[:200]


def _load(text: Any) -> Any:
    try:
        return json.loads(text)
    except (TypeError, ValueError):
        return MISSING
