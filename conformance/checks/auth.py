"""Keys."""

from __future__ import annotations

import base64
from collections.abc import Iterator

from specserve.conformance.checks import Needs, check
from specserve.conformance.evidence import Answer, Finding


@check("auth.challenge", needs=Needs.COMPLETE)
def challenge(answer: Answer) -> Iterator[Finding]:
    """401 says how to send a key."""
    if answer.status == 401 and not answer.header("www-authenticate"):
        yield Finding("a header WWW-Authenticate beside 401", "none")


@check("auth.code", needs=Needs.REFUSED)
def code(answer: Answer) -> Iterator[Finding]:
    """Clients look for this code."""
    found = answer.get("error", "code")
    if answer.status == 401 and found != "invalid_api_key":
        yield Finding('code "invalid_api_key"', found)


@check("auth.before-validation", needs=Needs.COMPLETE)
def before_validation(answer: Answer) -> Iterator[Finding]:
    """A stranger's body is not read."""
    if answer.status != 401:
        yield Finding("status 401, since the key is wrong", answer.status)


@check("auth.key-never-echoed", needs=Needs.ANY)
def key_never_echoed(answer: Answer) -> Iterator[Finding]:
    """Neither as it was sent nor in base64."""
    sent = next((value for name, value in answer.sent.headers if name == "authorization"), "")
    key = sent.partition(" ")[2]
    if len(key) < 8:
        return  # too short to be told from other words
    haystack = answer.body + "\n".join(value for _, value in answer.headers).encode(errors="replace")
    if key.encode() in haystack or base64.b64encode(key.encode()) in haystack:
        yield Finding("an answer without the key", "the key that was sent stands in the answer")
