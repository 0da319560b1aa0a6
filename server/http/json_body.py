"""From the bytes of a body to plain values, within limits on how many values it holds and how deep it goes.

Both limits are about what a body costs: a few bytes can stand for a hundred times as much memory, and what walks
through values afterwards, a template or a compiler of schemas, must not run out of stack.
"""

from __future__ import annotations

import gc
from typing import Any

import orjson

from specserve.spec.errors import InvalidRequest, RequestTooLarge

MOST_VALUES = 300_000
MOST_LEVELS = 128
_CHUNK = 64 * 1024  # bytes in which a body is looked through
_TOO_DEEP = f"The request body is nested more than {MOST_LEVELS} levels deep."


def parse_json(body: bytes | bytearray) -> Any:
    """Decode a JSON body strictly: UTF-8, no NaN, no lone surrogates.

    Raises:
        RequestTooLarge: It holds more than `MOST_VALUES`.
        InvalidRequest: The bytes are not JSON, or it is deeper than `MOST_LEVELS`.
    """
    containers = body.count(b"[") + body.count(b"{")
    # At most so many, since some may stand inside of strings.
    if containers + body.count(b",") > MOST_VALUES and _count_values(body) > MOST_VALUES:
        raise RequestTooLarge(f"The request body holds more than {MOST_VALUES} values.")
    parsed = _parsed(body)
    if containers > MOST_LEVELS and not _is_within(parsed, MOST_LEVELS):
        raise InvalidRequest(_TOO_DEEP)
    return parsed


def _parsed(body: bytes | bytearray) -> Any:
    # Each new list has the collector look through those before it again; none of them can be garbage yet.
    collects = gc.isenabled() and len(body) > _CHUNK
    if collects:
        gc.disable()
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if "depth" in error.msg or "recursion" in error.msg.lower():  # the parser's own limit, of 1024 levels
            raise InvalidRequest(_TOO_DEEP) from error
        raise InvalidRequest(
            f"The request body is not valid JSON (line {error.lineno}, column {error.colno})."
        ) from error
    finally:
        if collects:
            gc.enable()


def _count_values(body: bytes | bytearray) -> int:
    """Values, of the bytes outside of strings: one for each comma and each list or object that is opened."""
    count, inside, begin = 0, 0, 0
    while begin < len(body):
        chunk = body[begin : begin + _CHUNK]
        if (len(chunk) - len(chunk.rstrip(b"\\"))) % 2:  # it ends between a backslash and what that escapes
            chunk = body[begin : begin + _CHUNK + 1]
        begin += len(chunk)
        parts = chunk.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')
        outside = b"".join(parts[inside::2])
        count += outside.count(b",") + outside.count(b"[") + outside.count(b"{")
        inside ^= (len(parts) - 1) & 1
    return count


def _is_within(value: Any, levels: int) -> bool:
    """Whether a value is no deeper than that, looked at level by level."""
    level = [value] if type(value) is dict or type(value) is list else []
    for _ in range(levels):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if type(outer) is dict else outer)
            if type(inner) is dict or type(inner) is list
        ]
        if not level:
            return True
    return False
