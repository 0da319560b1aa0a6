"""Keeps what a client wrote text: a control token in a prompt comes from the chat template, never from a message.

``<|im_end|>`` in a message would else end that message, and let whoever wrote it speak in any role. So each control
token in the client's strings gets a guard, one character that no client sent, and the tokenizer reads a guarded token
as the characters it is made of. Strings without control tokens are left alone, and so are their token ids.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from specserve.spec.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Iterable

GUARDS = range(0x10F000, 0x10FFFE)
"""Code points of private use: no template looks for them, and no normalisation changes them."""


class Literal:
    """Guards the control tokens of one model.

    Args:
        control_tokens: Their texts; see `Tokenizer.control_tokens`.
    """

    def __init__(self, control_tokens: Iterable[str]) -> None:
        texts = sorted(filter(None, control_tokens), key=len, reverse=True)
        self._whole = re.compile("|".join(map(re.escape, texts))) if texts else None
        # Whatever holds a token, or the beginning or the rest of one, holds one of these: a quick look at most strings.
        edges = {text[0] for text in texts} | {text[-1] for text in texts}
        self._edges = tuple(edges)
        self._beginnings = {text[:size] for text in texts for size in range(1, len(text))}
        self._endings = {text[-size:] for text in texts for size in range(1, len(text))}
        self._longest = max(map(len, texts), default=0)

    def guarded(self, value: Any) -> tuple[Any, str]:
        """`value` with a guard in each control token of its strings, keys included, and the guard.

        The guard is empty if there is none to write, and then `value` is what it was. A string that begins or ends
        with a part of a control token gets one too, for a template may put the rest of it beside.

        Raises:
            InvalidRequest: Each of the characters that could be the guard is in a string already.
        """
        strings = _strings(value)
        if not self._has_edge("".join(strings)) or not any(map(self._suspicious, strings)):
            return value, ""
        written = set().union(*map(set, strings))
        guard = next((chr(point) for point in GUARDS if chr(point) not in written), None)
        if guard is None:
            raise InvalidRequest(
                "The messages hold a control token of this model beside all characters that could set it apart.",
                param="messages",
            )
        return self._mark(value, guard), guard

    def _suspicious(self, text: str) -> bool:
        if self._whole is None or not self._has_edge(text):
            return False
        return bool(self._whole.search(text)) or self._cut(text) != (0, 0)

    def _has_edge(self, text: str) -> bool:
        return any(map(text.__contains__, self._edges))

    def _cut(self, text: str) -> tuple[int, int]:
        """Whether `text` begins with the rest, and ends with the beginning of a control token, as lengths."""
        most = min(len(text), self._longest - 1)
        first = next((size for size in range(most, 0, -1) if text[:size] in self._endings), 0)
        last = next((size for size in range(most, 0, -1) if text[-size:] in self._beginnings), 0)
        return first, last

    def _mark(self, value: Any, guard: str) -> Any:
        if isinstance(value, str):
            return self._mark_text(value, guard)
        if isinstance(value, dict):
            return {self._mark(key, guard): self._mark(item, guard) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._mark(item, guard) for item in value]
        return value

    def _mark_text(self, text: str, guard: str) -> str:
        if self._whole is None:
            return text
        first, last = self._cut(text)
        # Behind the first character: tokens may overlap, as in `<s><s>`, and each is broken by it.
        text = re.sub(f"(?={self._whole.pattern})(.)", rf"\1{guard}", text, flags=re.DOTALL)
        return f"{guard if first else ''}{text}{guard if last else ''}"


def _strings(value: Any) -> list[str]:
    """All strings in `value`."""
    found: list[str] = []
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            found.append(item)
        elif isinstance(item, dict):
            found += item
            waiting += item.values()
        elif isinstance(item, list | tuple):
            waiting += item
    return found
