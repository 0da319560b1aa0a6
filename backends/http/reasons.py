"""What another server says went wrong, out of whatever it sends: JSON of any shape, a page, or text."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from typing import Any

import orjson

_LARGEST = 64 * 1024  # bytes that are looked at
_LARGEST_PAGE = 16 * 1024  # characters; the patterns below look back and forth
_DEEPEST = 6
_LONGEST = 1000  # characters
_LONGEST_PAGE = 300
# Where servers put their reason, the more telling first.
_HOLDERS: tuple[str, ...] = (
    "error",
    "errors",
    "detail",
    "details",
    "message",
    "msg",
    "reason",
    "Message",
    "errorMessage",
)
_HOLDERS += ("error_message", "error_description", "description", "title", "cause", "fault", "body", "response")
_TITLE = re.compile(r"<title[^>]{0,200}>(.{1,1000}?)</title", re.IGNORECASE | re.DOTALL)
_HEADING = re.compile(r"<h1[^>]{0,200}>(.{1,1000}?)</h1", re.IGNORECASE | re.DOTALL)
_UNSEEN = re.compile(r"<(script|style|head)\b.{0,4000}?</\1[^>]{0,9}>|<!--.{0,4000}?-->", re.IGNORECASE | re.DOTALL)
_TAG = re.compile(r"<[^<>]{0,2000}>")


def read_body(body: bytes) -> Any:
    """The JSON of a failed response, or else the text that says why it failed; None if it says nothing."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return text_of(body) or None


def text_of(body: bytes) -> str:
    """The words of a page or of a text, short and printable. Bytes that are no text give none."""
    try:
        text = body[:_LARGEST].decode()
    except UnicodeDecodeError as error:
        if len(body) <= _LARGEST or error.start < _LARGEST - 4:
            return ""
        text = body[: error.start].decode()
    if re.match(r"\s*<(!doctype|html|head|body|\?xml|h\d|p|div|center)\b", text[:500], re.IGNORECASE):
        page = text[:_LARGEST_PAGE]
        named = _TITLE.search(page) or _HEADING.search(page)
        text = html.unescape(_TAG.sub(" ", named[1] if named else _UNSEEN.sub(" ", page[:4096])))
        return clean(text)[:_LONGEST_PAGE]
    return clean(text)


def clean(text: str) -> str:
    """One line of printable characters."""
    line = " ".join(text[: 4 * _LONGEST].split())
    return "".join(one for one in line if one.isprintable())[:_LONGEST]


def find_reason(value: Any, depth: int = 0) -> Mapping[str, Any]:
    """The object in an error that has a `message` that is text, made up if need be; empty if nothing is said.

    It is a copy, so that what the objects around it say (`code`, `type`, `param`, ...) can stand in it as well.
    """
    if depth > _DEEPEST:
        return {}
    if isinstance(value, str):
        return _quoted(value, depth) if value.strip() else {}
    if isinstance(value, list):
        return next((found for one in value[:3] if (found := find_reason(one, depth + 1))), {})
    if not isinstance(value, Mapping):
        return {}
    for name in _HOLDERS:
        if name in value and (found := _held(name, value[name], depth)):
            around = {key: one for key, one in value.items() if key not in _HOLDERS and key not in found}
            return {**around, **found}
    return {}


def _held(name: str, value: Any, depth: int) -> Mapping[str, Any]:
    if name == "detail" and isinstance(value, list) and value and isinstance(value[0], Mapping) and "msg" in value[0]:
        first = value[0]  # FastAPI's: where, and what
        place = first.get("loc")
        path = _joined([part for part in place if part != "body"]) if isinstance(place, list) else None
        return {"message": clean(str(first["msg"])), "param": path}
    return find_reason(value, depth + 1)


def _quoted(text: str, depth: int) -> Mapping[str, Any]:
    """A text, which may be the JSON of somebody else's error."""
    if text.lstrip()[:1] in ("{", "[") and len(text) <= _LARGEST:
        try:
            inner = find_reason(orjson.loads(text), depth + 1)
        except orjson.JSONDecodeError:
            inner = {}
        if inner:
            return inner
    return {"message": clean(text)}


def _joined(place: list[Any]) -> str | None:
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place[:20])
    return path.removeprefix(".")[:200] or None
