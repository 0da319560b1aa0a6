"""Answers of a given form."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from specserve.conformance.checks import check
from specserve.conformance.checks.stream import summary
from specserve.conformance.checks.tools import fits
from specserve.conformance.evidence import MISSING, Answer, Finding, dig


def _schema(answer: Answer) -> Any:
    return dig(answer.sent.json, "response_format", "json_schema", "schema")


def _judge(text: str, schema: Any) -> Iterator[Finding]:
    try:
        value = json.loads(text)
    except ValueError:
        yield Finding("JSON of the given schema", text, silent=True)
        return
    problem = fits(schema, value) if isinstance(schema, dict) else None
    if problem:
        yield Finding("JSON of the given schema", f"{text}: {problem}", silent=True)


def _refused_or_cut(answer: Answer) -> bool:
    """A refusal, or a limit that came first, says nothing about the form."""
    message = answer.get("choices", 0, "message")
    return (
        bool(dig(message, "refusal") not in (MISSING, None, ""))
        or answer.get("choices", 0, "finish_reason") == "length"
    )


@check("structured.schema")
def schema_followed(answer: Answer) -> Iterator[Finding]:
    """The prompt asks for a poem; the schema wins."""
    if answer.text and not _refused_or_cut(answer):
        yield from _judge(answer.text, _schema(answer))


@check("structured.object")
def json_object(answer: Answer) -> Iterator[Finding]:
    """Any object."""
    if answer.text and not _refused_or_cut(answer):
        yield from _judge(answer.text, {"type": "object"})


@check("structured.stream")
def streamed(answer: Answer) -> Iterator[Finding]:
    """The whole text conforms."""
    choice = summary(answer).choices.get(0)
    if choice and choice.text and choice.finish_reason != "length":
        yield from _judge(choice.text, _schema(answer))


@check("structured.content")
def content(answer: Answer) -> Iterator[Finding]:
    """Not in a field for thoughts."""
    if not answer.text and not _refused_or_cut(answer):
        yield Finding("the answer in content", dig(answer.get("choices", 0, "message"), "content"))
