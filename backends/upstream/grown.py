"""Streams whose chunks repeat the whole message so far, in place of what is new in it."""

from __future__ import annotations

from typing import Any

from specserve.spec.errors import UpstreamBreach

_TEXTS = ("content", "reasoning_content", "refusal")


class GrownMessage:
    """One choice of such a stream: what it has said so far."""

    def __init__(self) -> None:
        self._said: dict[object, str] = {}
        self._grows: bool | None = None  # not known before the second text

    def take(self, message: dict[str, Any]) -> bool:
        """Leave in a message what is new in it. Says whether that is less than was there.

        Some servers put a delta where the message should be: then the second text does not begin with the first.

        Raises:
            UpstreamBreach: It takes back what it has said.
        """
        changed = False
        for name in _TEXTS:
            if isinstance(message.get(name), str):
                changed |= self._rest(message, name, name)
        calls = message.get("tool_calls")
        for at, call in enumerate(calls if isinstance(calls, list) else ()):
            function = call.get("function") if isinstance(call, dict) else None
            if isinstance(function, dict) and isinstance(function.get("arguments"), str):
                changed |= self._rest(function, "arguments", ("arguments", call.get("index", at)))
        return changed

    def _rest(self, holder: dict[str, Any], name: str, key: object) -> bool:
        text, before = holder[name], self._said.get(key, "")
        if self._grows is None and text and before:
            self._grows = text.startswith(before)
        if self._grows is False:
            return False
        if self._grows and text and not text.startswith(before):
            raise UpstreamBreach("The server that runs this model took back what it had said.")
        if text:
            self._said[key] = text
        holder[name] = text[len(before) :]
        return bool(before and text)
