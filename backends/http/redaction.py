"""Keeps our keys out of what another server says: it was given them, and some repeat them."""

from __future__ import annotations

import base64
import re
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_SHOWN = "***"
_BASE64 = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_=")
_SHORTEST_IN_ANSWERS = 8  # characters; a stand-in for a key such as "EMPTY" is a word that an answer may well have


class Redactor:
    """Finds secrets as they are, percent-encoded (wholly or in part), as base64 and as hexadecimal digits.

    Args:
        secrets: Printable ASCII. The words of each count as well: a key is a key without ``Bearer`` before it.
    """

    def __init__(self, secrets: tuple[str, ...]) -> None:
        words = {word for secret in secrets for word in (secret, *secret.split()) if len(word) > 1}
        words -= {word for word in words if word.lower() in {"basic", "bearer", "token"}}
        self._in_errors = _pattern(frozenset(words))
        long = frozenset(word for word in words if len(word) >= _SHORTEST_IN_ANSWERS)
        self._in_answers = _pattern(long)
        forms = [form for word in long for form in (*_forms(word), *_base64_forms(word))]
        self._plain = tuple(form.encode() for form in dict.fromkeys(forms))

    def text(self, text: str) -> str:
        """The text of an error without secrets."""
        return _hide(self._in_errors, text)

    def needs_reading(self, data: bytes) -> bool:
        """Whether JSON can hold a secret, or hide one behind escapes, so that it must be decoded and encoded anew."""
        if self._in_answers is None:
            return False
        return b"\\u" in data or b"\\/" in data or b"%" in data or any(form in data for form in self._plain)

    def data(self, data: bytes) -> bytes:
        """JSON as we encode it, without secrets; the same object if there are none."""
        if self._in_answers is None or not self.needs_reading(data):
            return data
        text = data.decode()
        clean = _hide(self._in_answers, text)
        return data if clean is text else clean.encode()


def _hide(pattern: re.Pattern[str] | None, text: str) -> str:
    """The same object if nothing was found."""
    if pattern is None:
        return text
    parts: list[str] = []
    done = 0
    for found in pattern.finditer(text):
        start, end = found.span()
        if found.lastgroup == "base64":  # the characters at its edges have some bits of the secret as well
            while start > done and text[start - 1] in _BASE64:
                start -= 1
            while end < len(text) and text[end] in _BASE64:
                end += 1
        parts += (text[done:start], _SHOWN)
        done = max(done, end)
    return "".join((*parts, text[done:])) if parts else text


def _forms(word: str) -> Iterator[str]:
    """The ways to write a secret as it is."""
    yield word
    if '"' in word or "\\" in word:
        yield word.replace("\\", "\\\\").replace('"', '\\"')  # as in JSON
    raw = word.encode()
    yield raw.hex()
    yield raw.hex().upper()


def _base64_forms(word: str) -> Iterator[str]:
    """What base64 of any text has in it that has the secret in it, by how many bytes come before."""
    raw = word.encode()
    for before in range(3):
        whole = base64.b64encode(b"\0" * before + raw).decode().rstrip("=")
        sure = whole[(0, 2, 3)[before] : len(whole) - (0 if (before + len(raw)) % 3 == 0 else 1)]
        yield sure
        yield sure.translate(str.maketrans("+/", "-_"))


@cache
def _pattern(words: frozenset[str]) -> re.Pattern[str] | None:
    if not words:
        return None
    found: list[str] = []
    encoded: list[str] = []
    for word in sorted(words, key=len, reverse=True):
        long = len(word) >= _SHORTEST_IN_ANSWERS
        found += [re.escape(form) for form in (_forms(word) if long else (word,))]
        found.append("".join(f"(?:{re.escape(one)}|%(?i:{ord(one):02x}))" for one in word))
        encoded += _base64_forms(word) if long else ()
        if long:  # as OpenAI shows a key that it refuses: its ends
            found.append(rf"{re.escape(word[:4])}[^\s'\"]{{0,100}}?(?:\*{{3}}|\.{{3}}|…)[^\s'\"]{{0,100}}")
    if encoded:
        found.append(f"(?P<base64>{'|'.join(map(re.escape, dict.fromkeys(encoded)))})")
    return re.compile("|".join(found))
