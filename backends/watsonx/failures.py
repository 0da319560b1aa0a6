"""What IBM says went wrong -> our errors.

IBM's errors are ``{"errors": [{"code", "message", "more_info"}], "trace", "status_code"}``, those of IAM
``{"errorCode", "errorMessage"}``. The client reads what IBM says of its request, and nothing of what it says of our
key, project or plan; the log has the code and the trace of either.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog

from specserve.backends.http.retry_after import retry_after as retry_after_seconds
from specserve.spec.errors import (
    APIError,
    BadGateway,
    ContextLengthExceeded,
    InvalidRequest,
    ModelNotFound,
    OperationNotSupported,
    Overloaded,
    RequestTooLarge,
    Unavailable,
    UpstreamRefused,
    UpstreamTimeout,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

_OF_THE_CLIENT = frozenset({400, 413, 422})
_LONGEST_MESSAGE = 400  # characters that are taken over
_TOO_LONG = re.compile(
    r"(longer than|exceeds?|larger than|greater than|more than).{0,80}(sequence|context|input tokens|tokens? limit)"
    r"|(sequence|context) length.{0,40}(exceeded|is \d)|must not exceed.{0,80}token",
    re.IGNORECASE | re.DOTALL,
)
# What IBM calls otherwise than our contract does.
_OUR_NAMES = {
    "input": "prompt",
    "inputs": "input",
    "max_new_tokens": "max_tokens",
    "min_new_tokens": "min_tokens",
    "model_id": "model",
    "random_seed": "seed",
    "stop_sequences": "stop",
    "tool_choice_option": "tool_choice",
}
_PATH = re.compile(r"[a-z_]+(?:\[\d+\]|\.[a-z_]+)*")


@dataclass(frozen=True)
class Problem:
    """An answer of IBM that is none.

    Attributes:
        status: HTTP status.
        code: IBM's, such as ``invalid_input_argument``, or empty.
        message: IBM's, or empty.
        trace: Names the request at IBM, for its support.
        retry_after: Seconds to wait, if IBM said so.
    """

    status: int
    code: str = ""
    message: str = ""
    trace: str = ""
    retry_after: int | None = None


def read_problem(status: int, body: bytes, *, retry_after: str | None = None, now: float = 0.0) -> Problem:
    """Read an error body of the service or of IAM; one that is neither says only its status.

    Args:
        status: Of the response. An error in a stream has none of its own; then its body says it.
        body: JSON, or anything.
        retry_after: The header.
        now: Unix time, for a header that names a date.
    """
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        said = None
    said = said if isinstance(said, dict) else {}
    listed = said.get("errors")
    first = listed[0] if isinstance(listed, list) and listed and isinstance(listed[0], dict) else {}
    own = said.get("status_code")
    return Problem(
        status if status != 200 or not isinstance(own, int) else own,
        _text(first.get("code") or said.get("errorCode")),
        _text(first.get("message") or said.get("errorMessage")),
        _text(said.get("trace")),
        retry_after_seconds(retry_after, now),
    )


def client_error(problem: Problem, *, asked: Iterable[str], text: str) -> APIError:
    """The error that the client gets, after what it should not read was logged.

    Args:
        problem: What IBM said.
        asked: Names of the parameters that the client sent.
        text: Name of the parameter that holds the input.
    """
    log = structlog.get_logger("specserve.watsonx")
    tell = log.info if problem.status in _OF_THE_CLIENT else log.warning
    tell("refused by the service", status=problem.status, code=problem.code, trace=problem.trace)
    wait, code = problem.retry_after, problem.code
    if code == "token_quota_reached":
        return Overloaded("The plan behind this model has no tokens left.", retry_after=wait)
    if code == "model_no_support_for_function":
        return OperationNotSupported("The requested model does not support this operation.", param="model")
    if code == "model_not_supported":
        return ModelNotFound("The service behind this model does not offer it any more.", param="model")
    match problem.status:
        case 400 | 422:
            return _invalid(problem, asked, text)
        case 401 | 403:
            return UpstreamRefused("The service behind this model does not accept the credentials of this server.")
        case 408 | 504:
            return UpstreamTimeout("The service behind this model did not answer in time.")
        case 413:
            return RequestTooLarge("The request is larger than the service behind this model takes.")
        case 429:
            return Overloaded("The service behind this model takes no more requests at the moment.", retry_after=wait)
        case 503:
            return Unavailable("The service behind this model is not available at the moment.", retry_after=wait)
    return BadGateway("The service behind this model failed.")


def _invalid(problem: Problem, asked: Iterable[str], text: str) -> APIError:
    message = problem.message[:_LONGEST_MESSAGE] or "The service behind this model does not take this request."
    if _TOO_LONG.search(problem.message):
        return ContextLengthExceeded(message, param=text)
    return InvalidRequest(message, param=_param(problem.message, set(asked)))


def _param(message: str, asked: set[str]) -> str | None:
    """The first parameter of the request that the message names, with what follows inside of it."""
    for found in _PATH.finditer(message.replace("parameters.", "")):
        root, rest = re.match(r"([a-z_]+)(.*)", found[0], re.DOTALL).groups()  # type: ignore[union-attr] # as _PATH begins
        name = _OUR_NAMES.get(root, root)
        if name == "max_tokens" and name not in asked:
            name = "max_completion_tokens"
        # A parameter of one plain word may be meant as a word, unless the message goes on into it.
        if name in asked and (rest or "_" in root or _quoted(message, root)):
            return name + rest
    return None


def _quoted(message: str, word: str) -> bool:
    return re.search(rf"(['\"`]{word}['\"`]|field {word}\b|error: {word}\b|^{word}\b)", message) is not None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
