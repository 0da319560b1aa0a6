"""The header Retry-After."""

from __future__ import annotations

import contextlib
import math
import time
from email.utils import parsedate_to_datetime

_LONGEST_HEADER = 100  # characters
_LONGEST_WAIT = 24 * 3600  # seconds


def retry_after(header: str | None, now: float | None = None) -> int | None:
    """The whole seconds to wait, at least 1; None without a header that makes sense (RFC 9110, section 10.2.3).

    Args:
        header: A number of seconds, or a date.
        now: Unix time, by default of now.
    """
    text = (header or "").strip()
    if not text or len(text) > _LONGEST_HEADER:
        return None
    seconds = math.inf
    # A date can be wrong in many ways, for which its parser has as many errors.
    with contextlib.suppress(ValueError, OverflowError, TypeError, IndexError):
        seconds = float(text) if text[0] in "0123456789" else _until(text, time.time() if now is None else now)
    if not seconds <= _LONGEST_WAIT:
        return None
    return max(1, math.ceil(seconds))


def _until(date: str, now: float) -> float:
    return parsedate_to_datetime(date).timestamp() - now
