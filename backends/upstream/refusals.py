"""What an upstream's errors are for our client: the envelope, and a status that tells whose fault it is."""

from __future__ import annotations

import contextlib
import math
import re
from email.utils import parsedate_to_datetime
from time import time
from typing import TYPE_CHECKING, Any

import orjson

from specserve.spec.errors import APIError, BadGateway, Relayed, UpstreamRefused

if TYPE_CHECKING:
    from collections.abc import Mapping

    from specserve.backends.upstream.exchange import Exchange

# The upstream's status -> ours, where it is another. What is wrong with our key, our account or our address is no
# fault of the client, who must not be told that its own key is wrong.
_OURS = {408: 504, 409: 503, 422: 400, 425: 503, 498: 429, 529: 503, 598: 504, 599: 504}
_PASSED_ON = frozenset({400, 404, 413, 415, 429, 500, 502, 503, 504})
_TYPES = {429: "rate_limit_error"}
_ENVELOPE = frozenset({"message", "type", "param", "code"})
_LONGEST_WAIT = 24 * 3600
_WORD = re.compile(r"[A-Za-z0-9_.\-]{1,100}")


def from_response(status: int, headers: Mapping[str, str], body: bytes, exchange: Exchange) -> APIError:
    """The error that a response of the upstream is."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        value = None
    return _error(status, value, retry_after(headers), exchange)


def from_event(chunk: Mapping[str, Any], exchange: Exchange) -> APIError:
    """The error that an event of the upstream's stream tells; its status is in it, or 500."""
    inner = chunk.get("error")
    told = [inner.get(name) for name in ("status", "status_code", "code")] if isinstance(inner, dict) else []
    statuses = [int(one) for one in map(str, told) if one.isdecimal() and 400 <= int(one) <= 599]
    kind = str(inner.get("type", "")) if isinstance(inner, dict) else ""
    guess = {"invalid_request_error": 400, "BadRequestError": 400, "rate_limit_error": 429}.get(kind, 500)
    return _error(statuses[0] if statuses else guess, chunk, None, exchange)


def retry_after(headers: Mapping[str, str]) -> int | None:
    """The seconds of a Retry-After, rounded up; None without one that makes sense (RFC 9110, section 10.2.3)."""
    text = headers.get("Retry-After", "").strip()
    seconds = None
    if text:
        with contextlib.suppress(ValueError):
            seconds = float(text) if text[0].isdigit() else parsedate_to_datetime(text).timestamp() - time()
    if seconds is None or not math.isfinite(seconds) or seconds > _LONGEST_WAIT:
        return None
    return max(1, math.ceil(seconds))


def _error(status: int, value: Any, wait: int | None, exchange: Exchange) -> APIError:
    if 300 <= status < 400:
        return UpstreamRefused("The server that runs this model is at another address.")
    if status in {401, 402, 403}:
        return UpstreamRefused("The server that runs this model refuses this server.")
    ours = _OURS.get(status, status)
    if ours not in _PASSED_ON:
        ours = 503 if ours >= 500 else 502
    error = _envelope(value, exchange)
    message, code = _text(error.get("message")), _word(error.get("code"))
    if ours == 404 and code != "model_not_found" and "model" not in message.lower():
        return UpstreamRefused("The server that runs this model has no such operation.")
    if ours == 502:
        return BadGateway(exchange.without_secrets(message) or "The server that runs this model failed.")
    kind = _word(error.get("type"))
    return Relayed(
        exchange.without_secrets(message) or "The server that runs this model failed without a reason.",
        status=ours,
        type=kind if kind and "error" in kind.lower() and kind.islower() else _type(ours),
        code=code or ("model_not_found" if ours == 404 else None),
        param=exchange.param(_param(error.get("param"))) or ("model" if ours == 404 else None),
        retry_after=wait if ours in {429, 503} else None,
    )


def _type(status: int) -> str:
    return _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")


def _envelope(value: Any, exchange: Exchange) -> Mapping[str, Any]:
    """The fields of the envelope, out of whatever has its place."""
    error = value.get("error") if isinstance(value, dict) else None
    if isinstance(error, dict) and error.keys() >= _ENVELOPE and not isinstance(error["code"], int | float):
        return error
    exchange.notes.add("error-shape")
    if isinstance(error, dict):
        return error
    if isinstance(error, str):
        return {"message": error}
    if not isinstance(value, dict):
        return {}
    detail = value.get("detail")
    if isinstance(detail, str):
        return {"message": detail}
    if isinstance(detail, list) and detail and isinstance(detail[0], dict):  # FastAPI's
        place = [part for part in detail[0].get("loc") or () if part != "body"]
        return {"message": detail[0].get("msg"), "param": _joined(place)}
    return value  # flat: SGLang's has the same names at the top


def _joined(place: list[Any]) -> str | None:
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    return path.removeprefix(".") or None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _word(value: Any) -> str | None:
    """A type or a code; a number as code is the status over again, and says nothing."""
    return value if isinstance(value, str) and _WORD.fullmatch(value) and not value.isdigit() else None


def _param(value: Any) -> str | None:
    return value[:200] if isinstance(value, str) and value and value.isprintable() else None
