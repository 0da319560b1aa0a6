"""What widely used clients send beside what they need."""

from __future__ import annotations

from collections.abc import Iterator

from specserve.conformance.checks import Needs, check
from specserve.conformance.evidence import Answer, Finding


@check("clients.gzip", needs=Needs.COMPLETE)
def gzip(answer: Answer) -> Iterator[Finding]:
    """415 says that it is the encoding, so that the client sends it again without."""
    if answer.status not in {200, 415}:
        yield Finding("status 200, or 415", f"status {answer.status}")


@check("clients.encoding-null", needs=Needs.COMPLETE)
def encoding_null(answer: Answer) -> Iterator[Finding]:
    """As without the key."""
    if answer.status != 200:
        yield Finding("status 200", f"status {answer.status}")
    elif isinstance(answer.get("data", 0, "embedding"), str):
        yield Finding("a list of numbers", "a string")
