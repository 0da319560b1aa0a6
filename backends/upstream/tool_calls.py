"""The calls of tools in an answer, mended: what servers most often get wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from specserve.backends.upstream.mending import as_object, new_call_id

if TYPE_CHECKING:
    from specserve.backends.upstream.mending import Mender


@dataclass
class _Call:
    """What a stream has said of one call so far, and the id that the upstream gave it."""

    id: str
    given_id: object
    name: str


class StreamedCalls:
    """The calls of one choice of a stream."""

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self._newest: dict[int, int] = {}  # the upstream's index -> place of the newest call that has it

    def __bool__(self) -> bool:
        """Whether anything was called."""
        return bool(self._calls)

    def take(self, parts: list[Any], mender: Mender) -> None:
        """Mend the pieces of calls in one delta."""
        for part in parts:
            self._take(as_object(part), mender)

    def _take(self, part: dict[str, Any], mender: Mender) -> None:
        function = part.get("function")
        function = function if isinstance(function, dict) else {}
        mender.arguments(function)
        index = part.get("index")
        at = self._place(index, part.get("id"), function.get("name"))
        if isinstance(index, int):
            self._newest[index] = at
        if index != at or isinstance(index, bool):
            part["index"] = at
            mender.did("index")
        if at == len(self._calls):
            self._begin(part, function, mender)
        else:
            self._go_on(part, function, mender)

    def _place(self, index: object, given: object, name: object) -> int:
        """Which call a piece belongs to. Servers number every call 0, or none: another id or name is another call."""
        following = len(self._calls)
        known = [at for at, call in enumerate(self._calls) if given and call.given_id == given]
        if not isinstance(index, int):
            if known:
                return known[-1]
            return following if given or name or not self._calls else following - 1
        if index not in self._newest:
            return following
        at = self._newest[index]
        call = self._calls[at]
        if given and given != call.given_id:
            return known[-1] if known else following
        return following if name and name != call.name else at

    def _begin(self, part: dict[str, Any], function: dict[str, Any], mender: Mender) -> None:
        given = part.get("id")
        if not isinstance(given, str) or not given or any(call.id == given for call in self._calls):
            part["id"] = new_call_id()
            mender.did("tool-call-id")
        if part.get("type") != "function":
            part["type"] = "function"
            mender.did("tool-call-type")
        part["function"] = function
        self._calls.append(_Call(part["id"], given, str(function.get("name") or "")))

    def _go_on(self, part: dict[str, Any], function: dict[str, Any], mender: Mender) -> None:
        for holder, name in ((part, "id"), (part, "type"), (function, "name")):
            if name in holder:
                del holder[name]
                mender.did("tool-call-head-repeated")


def mend_calls(calls: list[Any], mender: Mender) -> None:
    """Mend the calls of a whole message."""
    seen: set[str] = set()
    for part in calls:
        call = as_object(part)
        function = call.get("function")
        if isinstance(function, dict):
            mender.arguments(function)
        if call.get("type") not in ("function", "custom"):
            call["type"] = "function"
            mender.did("tool-call-type")
        given = call.get("id")
        if not isinstance(given, str) or not given or given in seen:
            call["id"] = new_call_id()
            mender.did("tool-call-id")
        seen.add(call["id"])
