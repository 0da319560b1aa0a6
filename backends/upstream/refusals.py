"""What an upstream's errors are for our client: the envelope, and a status that tells whose fault it is."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from specserve.backends.http.reasons import clean, find_reason, read_body
from specserve.backends.http.retry_after import retry_after
from specserve.spec.errors import APIError, BadGateway, Relayed, UpstreamBreach, UpstreamRefused

if TYPE_CHECKING:
    from specserve.backends.upstream.exchange import Exchange

# The upstream's status -> ours, where it is another. What is wrong with our key, our account or our address is no
# fault of the client, who must not be told that its own key is wrong; and what broke there did not break here.
_OURS = {500: 502, 408: 504, 409: 503, 422: 400, 425: 503, 498: 429, 529: 503, 598: 504, 599: 504}
_PASSED_ON = frozenset({400, 404, 413, 415, 429, 502, 503, 504})
_TYPES = {429: "rate_limit_error"}
_ENVELOPE = frozenset({"message", "type", "param", "code"})
_WORD = re.compile(r"[A-Za-z0-9_.\-]{1,100}")
_STATUS = re.compile(r"[45]\d\d")
# The statuses that errors in streams, which have none, name in words.
_STATUS_OF = {
    400: ("badrequest", "invalidargument", "invalidrequest", "validation", "contextlength", "failedprecondition"),
    401: ("authentication", "unauthenticated", "unauthorized", "invalidapikey"),
    403: ("permission", "forbidden", "billing"),
    404: ("notfound",),
    413: ("toolarge",),
    429: ("ratelimit", "resourceexhausted", "toomanyrequests", "insufficientquota"),
    503: ("overloaded", "unavailable", "capacity"),
    504: ("timeout", "deadlineexceeded"),
}
_NAMED = ("error", "errors", "detail", "message", "msg", "error_message", "errorMessage")


def from_response(status: int, headers: Mapping[str, str], body: bytes, exchange: Exchange) -> APIError:
    """The error that a response of the upstream is."""
    return _error(status, read_body(body), retry_after(headers.get("Retry-After")), exchange)


def is_failure(value: Any, name: str = "message") -> bool:
    """Whether an answer, or an event of a stream, tells of a failure in place of what was asked for.

    Args:
        value: Parsed.
        name: Of the event.
    """
    if name == "error":
        return True
    if isinstance(value, list):  # Gemini's
        return bool(value) and isinstance(value[0], Mapping) and bool(value[0].get("error"))
    if not isinstance(value, Mapping):
        return False
    error = value.get("error")
    if error and (isinstance(error, str) or find_reason(error)):
        return True  # also beside choices, which then say nothing that counts
    if value.get("choices") or value.get("usage") or value.get("data"):
        return False
    if "error" in value and error is not None:
        return True
    if value.get("object") == "error" or value.get("type") == "error":
        return True
    return "choices" not in value and any(value.get(one) for one in _NAMED) and bool(find_reason(value))


def from_event(event: Any, exchange: Exchange) -> APIError:
    """The error that an answer or an event tells, with the status that it names, in digits or in words; or 500."""
    said = list(_said(event))
    statuses = [int(one) for one in said if _STATUS.fullmatch(one)]
    if not statuses:
        words = ["".join(one.lower().replace("_", "").split()) for one in said]
        statuses = [status for word in words for status, names in _STATUS_OF.items() if any(n in word for n in names)]
    return _error(statuses[0] if statuses else 500, event, None, exchange)


def _said(value: Any, depth: int = 0) -> Iterator[str]:
    """What an error says of its status, the innermost first."""
    if isinstance(value, list):
        value = value[0] if value else None
    if not isinstance(value, Mapping) or depth > 5:
        return
    for name in ("error", "errors", "detail"):
        yield from _said(value.get(name), depth + 1)
    for name in ("status", "status_code", "statusCode", "http_code", "code", "type"):
        one = value.get(name)
        if isinstance(one, str) or (isinstance(one, int) and 400 <= one < 600):
            yield str(one)[:100]


def _error(status: int, value: Any, wait: int | None, exchange: Exchange) -> APIError:
    error = _envelope(value, exchange)
    message = exchange.without_secrets(clean(_text(error.get("message"))))
    code = _word(error.get("code"), exchange)
    if 300 <= status < 400:
        return UpstreamRefused("The server that runs this model is at another address.")
    if status in {401, 402, 403}:
        return _Refused("The server that runs this model refuses this server.", reason=message)
    ours = _OURS.get(status, status)
    if ours not in _PASSED_ON:
        ours = 503 if ours >= 500 else 502
    if ours == 404 and code != "model_not_found" and "model" not in message.lower():
        return _Refused("The server that runs this model has no such operation.", reason=message)
    if status < 300:
        return UpstreamBreach(message or f"The server that runs this model answered {status}, without a whole answer.")
    if ours == 502:
        return BadGateway(message or "The server that runs this model failed.")
    kind = _word(error.get("type"), exchange)
    return Relayed(
        message or "The server that runs this model failed without a reason.",
        status=ours,
        type=kind if kind and "error" in kind.lower() and kind.islower() else _type(ours),
        code=code or ("model_not_found" if ours == 404 else None),
        param=exchange.param(_param(error.get("param"), exchange)) or ("model" if ours == 404 else None),
        retry_after=wait if ours in {429, 503} else None,
    )


class _Refused(UpstreamRefused):
    """With the upstream's reason, which is for the operator."""

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


def _type(status: int) -> str:
    return _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")


def _envelope(value: Any, exchange: Exchange) -> Mapping[str, Any]:
    """The fields of the envelope, out of whatever has its place."""
    error = value.get("error") if isinstance(value, Mapping) else None
    if isinstance(error, Mapping) and error.keys() >= _ENVELOPE and not isinstance(error["code"], int | float):
        return error if isinstance(error["message"], str) and error["message"] else {**error, **find_reason(value)}
    exchange.repairs.add("error-shape")
    return find_reason(value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _word(value: Any, exchange: Exchange) -> str | None:
    """A type or a code; a number as code is the status over again, and says nothing."""
    if not isinstance(value, str) or not _WORD.fullmatch(value) or value.isdigit():
        return None
    return value if exchange.without_secrets(value) == value else None


def _param(value: Any, exchange: Exchange) -> str | None:
    return exchange.without_secrets(value[:200]) if isinstance(value, str) and value and value.isprintable() else None
