"""How refusals are told."""

from __future__ import annotations

from collections.abc import Iterator

from specserve.conformance.checks import Needs, NothingShown, check
from specserve.conformance.evidence import MISSING, Answer, Finding, dig
from specserve.conformance.exchanges.render import LONG_TEXT

LARGEST_ERROR = 16 * 1024

# What the field `param` should name, for the requests where nobody can name another.
_NAMES = {"errors.temperature-high": "temperature", "errors.messages-empty": "messages", "errors.n-zero": "n"}


@check("errors.unknown-model-404", needs=Needs.COMPLETE)
def unknown_model_404(answer: Answer) -> Iterator[Finding]:
    """The status that names the reason."""
    if 400 <= answer.status < 500 and answer.status != 404:
        yield Finding("status 404", answer.status)


@check("errors.unknown-model-code", needs=Needs.REFUSED)
def unknown_model_code(answer: Answer) -> Iterator[Finding]:
    """Clients look for this code."""
    if answer.get("error", "code") != "model_not_found":
        yield Finding('code "model_not_found"', answer.get("error", "code"))


@check("errors.status-400", needs=Needs.COMPLETE)
def status_400(answer: Answer) -> Iterator[Finding]:
    """The official clients have a class for 400 and another for 422."""
    if 400 < answer.status < 500:
        yield Finding("status 400", answer.status)


@check("errors.message-says-something", needs=Needs.REFUSED)
def message_says_something(answer: Answer) -> Iterator[Finding]:
    """A person must read it."""
    message = answer.get("error", "message")
    if isinstance(message, str) and not message.strip():
        yield Finding("a message", "an empty one")


@check("errors.param-names-field", needs=Needs.REFUSED)
def param_names_field(answer: Answer) -> Iterator[Finding]:
    """`messages` and `messages[0].role` both name the messages."""
    name = _NAMES[answer.sent.exchange]
    param = answer.get("error", "param")
    if not (isinstance(param, str) and name in param):
        yield Finding(f'param "{name}"', param)


@check("errors.unknown-parameter", needs=Needs.COMPLETE)
def unknown_parameter(answer: Answer) -> Iterator[Finding]:
    """Taking it is ignoring it."""
    if answer.status == 200:
        yield Finding("a client error that names the parameter", "status 200", silent=True)


@check("errors.before-stream", needs=Needs.COMPLETE)
def before_stream(answer: Answer) -> Iterator[Finding]:
    """An error that is known before the first token has a status of its own."""
    if answer.is_stream and (
        answer.status >= 400 or any(dig(payload, "error") is not MISSING for payload in answer.payloads)
    ):
        yield Finding("a client error as JSON", f"status {answer.status}, and the error in a text/event-stream")
    elif 200 <= answer.status < 300:
        msg = "the request was accepted, which errors.temperature-text tells"
        raise NothingShown(msg)
    elif answer.status >= 500:
        msg = f"status {answer.status}, which http.no-server-error tells"
        raise NothingShown(msg)


@check("errors.size", needs=Needs.COMPLETE)
def size(answer: Answer) -> Iterator[Finding]:
    """Some servers send back the whole input with the reason."""
    if answer.status < 400:
        return
    if len(answer.body) > LARGEST_ERROR:
        yield Finding(f"at most {LARGEST_ERROR} bytes", f"{len(answer.body)} bytes")
    elif LONG_TEXT[:600].encode() in answer.body:
        yield Finding("a message without the long value", f"{len(answer.body)} bytes that repeat it")


@check("limits.too-long-code", needs=Needs.REFUSED)
def too_long_code(answer: Answer) -> Iterator[Finding]:
    """Clients that shorten and try again look for this code."""
    if answer.get("error", "code") != "context_length_exceeded":
        yield Finding('code "context_length_exceeded"', answer.get("error", "code"))
