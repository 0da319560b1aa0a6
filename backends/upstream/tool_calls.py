"""The calls of tools in an answer, mended: what servers most often get wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from specserve.backends.upstream.mending import as_object, new_call_id
from specserve.spec.errors import UpstreamBreach

if TYPE_CHECKING:
    from specserve.backends.upstream.mending import Mender

MOST_CALLS = 512
"""Calls in one choice. More are no answer that anybody wants, and telling them apart would take long."""


@dataclass
class _Call:
    """What a stream has said of one call so far, and the id that the upstream gave it."""

    id: str
    given_id: object
    name: str = ""
    begun: bool = False
    has_arguments: bool = False
    held: str = ""  # arguments that came before the name


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
        parts[:] = [part for part in parts if self._take(as_object(part), mender)]

    def finish(self, delta: dict[str, Any], mender: Mender) -> None:
        """Give calls that have no arguments, now that no more can come, those of a call without any.

        Raises:
            UpstreamBreach: One was never named.
        """
        if not all(call.name for call in self._calls):
            raise UpstreamBreach("The server that runs this model called a tool without its name.")
        empty = [at for at, call in enumerate(self._calls) if not call.has_arguments]
        if empty:
            pieces = [{"index": at, "function": {"arguments": "{}"}} for at in empty]
            given = delta.get("tool_calls")
            # A piece of the same delta may begin the call, with empty arguments.
            for piece in given if isinstance(given, list) else ():
                if piece["index"] in empty and "id" in piece:
                    piece["function"]["arguments"] = "{}"
                    pieces = [one for one in pieces if one["index"] != piece["index"]]
            delta["tool_calls"] = [*(given or ()), *pieces]
            mender.repaired("tool-call-arguments")

    def _take(self, part: dict[str, Any], mender: Mender) -> bool:
        """Mend a piece; False drops it, for the name of the call is yet to come."""
        function = _function(part, mender)
        mender.arguments(function)
        if "arguments" in function and function["arguments"] is None:
            del function["arguments"]
            mender.repaired("tool-call-arguments")
        if "name" in function and not function["name"]:
            del function["name"]
            mender.repaired("tool-call-head-repeated")
        index = part.get("index")
        at = self._place(index, part.get("id"), function.get("name"))
        if isinstance(index, int):
            self._newest[index] = at
        if index != at or isinstance(index, bool):
            part["index"] = at
            mender.repaired("index")
        if at == len(self._calls):
            self._begin(part, function, mender)
        call = self._calls[at]
        call.has_arguments |= bool(function.get("arguments"))
        if call.begun:
            self._go_on(call, part, function, mender)
            return True
        name, arguments = function.get("name"), function.get("arguments")
        call.held += arguments if isinstance(arguments, str) else ""
        if not isinstance(name, str):
            mender.repaired("tool-call-head-late")
            return False
        call.begun, call.name = True, name
        head = {"id": call.id, "type": "function", "function": {**function, "name": name, "arguments": call.held}}
        if any(part.get(key) != value for key, value in head.items()):
            part.update(head)
            mender.changed = True
        return True

    def _place(self, index: object, given: object, name: object) -> int:
        """Which call a piece belongs to.

        Servers number every call 0, or none: another name, or another id with a name, is another call.
        """
        following = len(self._calls)
        if following > MOST_CALLS:
            raise UpstreamBreach("The server that runs this model called too many tools.")
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
            return known[-1] if known else (following if name else at)
        return following if name and call.name and name != call.name else at

    def _begin(self, part: dict[str, Any], function: dict[str, Any], mender: Mender) -> None:
        given = part.get("id")
        if not isinstance(given, str) or not given or any(call.id == given for call in self._calls):
            part["id"] = new_call_id()
            mender.repaired("tool-call-id")
        if part.get("type") != "function":
            part["type"] = "function"
            mender.repaired("tool-call-type")
        if "arguments" not in function:
            function["arguments"] = ""
            mender.repaired("tool-call-arguments")
        self._calls.append(_Call(part["id"], given))

    def _go_on(self, call: _Call, part: dict[str, Any], function: dict[str, Any], mender: Mender) -> None:
        given = part.get("id")
        if given and given != call.given_id:
            mender.repaired("tool-call-id-changed")
        for holder, name in ((part, "id"), (part, "type"), (function, "name")):
            if name in holder:
                del holder[name]
                mender.repaired("tool-call-head-repeated")
        if function:
            part["function"] = function
        elif "function" in part:
            del part["function"]
            mender.repaired("tool-call-arguments")


def mend_calls(calls: list[Any], mender: Mender) -> None:
    """Mend the calls of a whole message."""
    if len(calls) > MOST_CALLS:
        raise UpstreamBreach("The server that runs this model called too many tools.")
    seen: set[str] = set()
    for part in calls:
        call = as_object(part)
        if call.get("type") not in ("function", "custom"):
            call["type"] = "function"
            mender.repaired("tool-call-type")
        if call["type"] == "function":
            function = _function(call, mender)
            mend_arguments(function, mender)
            if call.get("function") is not function:
                call["function"] = function
        given = call.get("id")
        if not isinstance(given, str) or not given or given in seen:
            call["id"] = new_call_id()
            mender.repaired("tool-call-id")
        if "index" in call and call["index"] is None:
            del call["index"]
            mender.repaired("null-for-absent")
        seen.add(call["id"])


def mend_arguments(function: dict[str, Any], mender: Mender) -> None:
    """Make the arguments of a whole call JSON text; none are those of a call without any."""
    mender.arguments(function)
    if not function.get("arguments"):
        function["arguments"] = "{}"
        mender.repaired("tool-call-arguments")


def _function(part: dict[str, Any], mender: Mender) -> dict[str, Any]:
    """What is called, which some servers put beside the id."""
    function = part.get("function")
    if isinstance(function, dict):
        return function
    if not isinstance(part.get("name"), str) and "arguments" not in part:
        return {}
    mender.repaired("tool-call-function")
    return {name: part.pop(name) for name in ("name", "arguments") if name in part}
