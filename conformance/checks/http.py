"""How a server speaks HTTP."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from specserve.conformance.checks import Needs, check, check_together
from specserve.conformance.evidence import MISSING, Answer, Broken, Finding

# What a proxy in front of the server answers for it; it says nothing about the server.
INFRASTRUCTURE = frozenset({502, 503, 504})


@check("http.message-complete", needs=Needs.ANY)
def message_complete(answer: Answer) -> Iterator[Finding]:
    """The framing was kept."""
    if answer.broken in {Broken.CUT, Broken.PROTOCOL}:
        yield Finding("a complete HTTP message", f"{answer.broken}: {answer.detail}")


@check("http.json-parses", needs=Needs.COMPLETE)
def json_parses(answer: Answer) -> Iterator[Finding]:
    """A 200 of an operation that does not stream is JSON. Errors are the envelope's matter."""
    if answer.status == 200 and answer.sent.operation and not answer.sent.stream and answer.json is MISSING:
        yield Finding("JSON as RFC 8259 defines it", answer.body[:120].decode(errors="backslashreplace"))


@check("http.json-content-type", needs=Needs.COMPLETE)
def json_content_type(answer: Answer) -> Iterator[Finding]:
    """JSON calls itself JSON."""
    if answer.sent.operation and answer.body and answer.json is not MISSING and not answer.sent.stream:
        media = answer.media_type
        if media != "application/json" and not media.endswith("+json"):
            yield Finding("Content-Type: application/json", answer.header("content-type") or "no Content-Type")


@check("http.no-server-error", needs=Needs.COMPLETE)
def no_server_error(answer: Answer) -> Iterator[Finding]:
    """No 500 and no other failure; 501 honestly says what is not implemented."""
    if answer.status >= 500 and answer.status not in INFRASTRUCTURE | {501}:
        yield Finding("a status below 500", answer.status)


@check("http.wrong-method-405", needs=Needs.COMPLETE)
def wrong_method_405(answer: Answer) -> Iterator[Finding]:
    """The status that names the reason."""
    if 400 <= answer.status < 500 and answer.status != 405:
        yield Finding("status 405", answer.status)


@check("http.allow", needs=Needs.COMPLETE)
def allow(answer: Answer) -> Iterator[Finding]:
    """405 names what is allowed."""
    if answer.status == 405 and answer.header("allow") is None:
        yield Finding("a header Allow beside 405", "none")


@check("http.head", needs=Needs.COMPLETE)
def head(answer: Answer) -> Iterator[Finding]:
    """HEAD goes where GET goes."""
    if 400 <= answer.status < 500:
        yield Finding("the status of GET", answer.status)


@check("http.request-id", needs=Needs.COMPLETE)
def request_id(answer: Answer) -> Iterator[Finding]:
    """A name that a bug report can quote."""
    if not answer.header("x-request-id"):
        yield Finding("a header x-request-id", "none")


@check_together("http.request-id-unique", needs=Needs.COMPLETE)
def request_id_unique(answers: Mapping[str, Answer]) -> Iterator[Finding]:
    """Two requests, two names."""
    names = [name for answer in answers.values() if (name := answer.header("x-request-id"))]
    if len(set(names)) != len(names):
        yield Finding("another x-request-id for each request", names)
