"""What handlers add to a request's log line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request

from specserve.generated.models import CompletionUsage

_LOGGED = ("prompt_tokens", "completion_tokens")


def note(request: Request, **fields: object) -> None:
    """Add fields to the request's log line."""
    request.state.log.update(fields)


def note_usage(request: Request, usage: CompletionUsage | Mapping[str, Any] | None) -> None:
    """Add the tokens that a request took, if they are known."""
    if usage is None:
        return
    counts = vars(usage) if isinstance(usage, CompletionUsage) else usage
    log: dict[str, Any] = request.scope["state"]["log"]
    for name in _LOGGED:
        if name in counts:
            log[name] = counts[name]
