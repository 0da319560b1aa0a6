"""Llama 3.2 and 4 as their cards show them: a Python list of calls, ``[f(a=1), g(b="x")]``."""

from __future__ import annotations

import ast
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from specserve.backends.local.tools.formats import llama3_json
from specserve.backends.local.tools.formats.base import Event, Reader, ToolFormat

if TYPE_CHECKING:
    from collections.abc import Collection

_LONGEST = 20_000
_WORDS = {"true": True, "false": False, "null": None}


@dataclass(frozen=True)
class _Pythonic(ToolFormat):
    def reader(self, names: Collection[str]) -> Reader:
        return PythonicReader(names)

    @property
    def forced(self) -> ToolFormat:
        """Schemas are told in JSON, so forced calls are written so."""
        return llama3_json.FORMAT


FORMAT = _Pythonic(
    template=("[func_name1(",),
    opening="[",
    before="",
    middle="",
    after="",
    between=", ",
    closing="]",
    begins="[",
    head="",
    tail="",
    at_start=True,
    triggers=False,
)


class PythonicReader(Reader):
    """Reads a list of calls that is the whole answer; anything else is text."""

    def __init__(self, names: Collection[str]) -> None:
        self._names = names
        self._held: str | None = ""

    def push(self, text: str) -> list[Event]:
        """Take the next piece. Calls go out when the list is whole: before that it may still be none."""
        if self._held is None:
            return [Event("text", text)]
        self._held += text
        begun = self._held.lstrip()
        if begun and not begun.startswith("["):
            return self._as_text()
        if len(self._held) > _LONGEST:
            return self._as_text()
        return []

    def flush(self) -> list[Event]:
        """End the answer."""
        if self._held is None:
            return []
        calls = _calls(self._held.strip(), self._names)
        if calls is None:
            return self._as_text()
        return [event for name, arguments in calls for event in (Event("call", name), Event("arguments", arguments))]

    def _as_text(self) -> list[Event]:
        text, self._held = self._held, None
        return [Event("text", text)] if text else []


def _calls(text: str, names: Collection[str]) -> list[tuple[str, str]] | None:
    """The calls of a list; None if it is none."""
    try:
        node = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    if not isinstance(node, ast.List) or not node.elts:
        return None
    found = []
    for call in node.elts:
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.args:
            return None
        try:
            values = {keyword.arg: _value(keyword.value) for keyword in call.keywords}
            arguments = json.dumps(values, ensure_ascii=False, allow_nan=False)
        except (TypeError, ValueError, RecursionError):
            return None
        if call.func.id not in names or None in values:
            return None
        found.append((call.func.id, arguments))
    return found


def _value(node: ast.expr) -> Any:
    """What a literal stands for; JSON's words count as Python's."""
    if isinstance(node, ast.Name) and node.id in _WORDS:
        return _WORDS[node.id]
    if isinstance(node, ast.List | ast.Tuple):
        return [_value(each) for each in node.elts]
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        return {str(ast.literal_eval(key or node)): _value(value) for key, value in pairs}
    return ast.literal_eval(node)
