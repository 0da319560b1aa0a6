"""Log probabilities in chat answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from specserve.conformance.checks import check
from specserve.conformance.checks.chat import choices
from specserve.conformance.checks.stream import summary
from specserve.conformance.evidence import Answer, Finding, dig, items

# Rounding of 32-bit floats may lift a certain token's log probability a hair above 0.
TOLERANCE = 1e-4


def tokens(answer: Answer) -> list[Any]:
    """The entries of all choices."""
    return [entry for choice in choices(answer) for entry in items(dig(choice, "logprobs", "content"))]


@check("logprobs.given")
def given(answer: Answer) -> Iterator[Finding]:
    """Neither null nor an empty list, in the form of chat."""
    if not tokens(answer):
        found = answer.get("choices", 0, "logprobs")
        if not (isinstance(found, dict) and "content" not in found):  # another form: the schema tells it
            yield Finding("logprobs with content", found, silent=True)


@check("logprobs.not-positive")
def not_positive(answer: Answer) -> Iterator[Finding]:
    """A probability is at most 1."""
    for entry in tokens(answer):
        for value in (dig(entry, "logprob"), *(dig(top, "logprob") for top in items(dig(entry, "top_logprobs")))):
            if isinstance(value, int | float) and value > TOLERANCE:
                yield Finding("at most 0", value)
                return


@check("logprobs.top-count")
def top_count(answer: Answer) -> Iterator[Finding]:
    """As many as were asked for."""
    asked = dig(answer.sent.json, "top_logprobs")
    most = asked if isinstance(asked, int) else 0
    for entry in tokens(answer):
        found = len(items(dig(entry, "top_logprobs")))
        if found > most:
            yield Finding(f"at most {most} alternatives", found)
            return


@check("logprobs.top-given")
def top_given(answer: Answer) -> Iterator[Finding]:
    """At least the likeliest."""
    for entry in tokens(answer):
        if dig(entry, "top_logprobs") == []:
            yield Finding("alternatives", "an empty list", silent=True)
            return


@check("logprobs.bytes")
def token_bytes(answer: Answer) -> Iterator[Finding]:
    """A token may be a part of a character; then its text is a makeshift and says nothing."""
    for entry in tokens(answer):
        token, found = dig(entry, "token"), dig(entry, "bytes")
        whole = isinstance(token, str) and "\ufffd" not in token and "\\x" not in token
        if whole and isinstance(found, list) and found != list(token.encode(errors="surrogatepass")):
            yield Finding(f"the bytes of {token!r}", found)
            return


@check("logprobs.text")
def text(answer: Answer) -> Iterator[Finding]:
    """Byte by byte."""
    if not tokens(answer):
        return
    pieces = [dig(entry, "bytes") for entry in tokens(answer)]
    if all(isinstance(piece, list) for piece in pieces):
        try:
            whole = b"".join(map(bytes, pieces)).decode(errors="replace")
        except (TypeError, ValueError):
            return
        if not whole.startswith(answer.text.rstrip("\ufffd")):
            yield Finding(f"the text {answer.text!r}", whole)


@check("logprobs.count")
def count(answer: Answer) -> Iterator[Finding]:
    """The end of the text may be a token without an entry."""
    counted = answer.get("usage", "completion_tokens")
    found = len(tokens(answer))
    if found and isinstance(counted, int) and found not in {counted, counted - 1}:
        yield Finding(f"{counted} entries", found)


@check("logprobs.top-order")
def top_order(answer: Answer) -> Iterator[Finding]:
    """The likeliest first."""
    for entry in tokens(answer):
        values = [dig(top, "logprob") for top in items(dig(entry, "top_logprobs"))]
        if all(isinstance(value, int | float) for value in values) and values != sorted(values, reverse=True):
            yield Finding("descending log probabilities", values)
            return


@check("logprobs.unasked")
def unasked(answer: Answer) -> Iterator[Finding]:
    """Nothing was asked for."""
    for choice in choices(answer):
        found = dig(choice, "logprobs")
        if isinstance(found, dict):
            yield Finding("logprobs: null", found)
            return


@check("logprobs.stream")
def stream(answer: Answer) -> Iterator[Finding]:
    """In the chunks, beside the text."""
    choice = summary(answer).choices.get(0)
    if choice and choice.text and not choice.logprobs:
        yield Finding("logprobs in the chunks", "none", silent=True)
