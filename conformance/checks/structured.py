"""Answers of a given form."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from specserve.conformance.checks import NothingShown, check
from specserve.conformance.checks.stream import summary
from specserve.conformance.checks.tools import fits, says_something
from specserve.conformance.evidence import MISSING, Answer, Finding, dig


def _schema(answer: Answer) -> Any:
    return dig(answer.sent.json, "response_format", "json_schema", "schema")


def _judge(text: str, schema: Any, *, cut: bool) -> Iterator[Finding]:
    if not text:
        msg = "there is no text, which structured.content tells"
        raise NothingShown(msg)
    if cut:
        # An object cannot begin otherwise, so the rest need not be seen.
        if says_something(text) and not text.lstrip().startswith("{"):
            yield Finding("JSON of the given schema", text, silent=True)
            return
        msg = "the limit cut the answer"
        raise NothingShown(msg)
    try:
        value = json.loads(text)
    except ValueError:
        yield Finding("JSON of the given schema", text, silent=True)
        return
    problem = fits(schema, value) if isinstance(schema, dict) else None
    if problem:
        yield Finding("JSON of the given schema", f"{text}: {problem}", silent=True)


def _cut(answer: Answer) -> bool:
    return bool(answer.get("choices", 0, "finish_reason") == "length")


def _check_refusal(answer: Answer) -> None:
    """A model that will not answer says nothing about the form."""
    if dig(answer.get("choices", 0, "message"), "refusal") not in (MISSING, None, ""):
        msg = "the model refused to answer"
        raise NothingShown(msg)


@check("structured.schema")
def schema_followed(answer: Answer) -> Iterator[Finding]:
    """The prompt asks for a poem; the schema wins."""
    _check_refusal(answer)
    yield from _judge(answer.text, _schema(answer), cut=_cut(answer))


@check("structured.object")
def json_object(answer: Answer) -> Iterator[Finding]:
    """Any object."""
    _check_refusal(answer)
    yield from _judge(answer.text, {"type": "object"}, cut=_cut(answer))


@check("structured.stream")
def streamed(answer: Answer) -> Iterator[Finding]:
    """The whole text conforms."""
    choice = summary(answer).choices.get(0)
    if choice:
        yield from _judge(choice.text, _schema(answer), cut=choice.finish_reason == "length")


@check("structured.content")
def content(answer: Answer) -> Iterator[Finding]:
    """Not in a field for thoughts."""
    _check_refusal(answer)
    if not answer.text and not _cut(answer):
        yield Finding("the answer in content", dig(answer.get("choices", 0, "message"), "content"))
