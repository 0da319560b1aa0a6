"""Words and their letters."""

from __future__ import annotations

from collections.abc import Iterator

from specserve.conformance.checks import check
from specserve.conformance.evidence import Answer, Finding


@check("words.length")
def length(answer: Answer) -> Iterator[Finding]:
    """Each letter counts once."""
    if answer.get("length") != len("goose"):
        yield Finding(len("goose"), answer.get("length"))


@check("words.letters")
def letters(answer: Answer) -> Iterator[Finding]:
    """As in the word."""
    if answer.get("data") != list("goose"):
        yield Finding(list("goose"), answer.get("data"))
