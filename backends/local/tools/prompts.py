"""Puts tools, calls and results into a conversation the way a model's template wants them."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import orjson

from specserve.backends.local.tools.formats import GENERIC, format_of, generic
from specserve.spec.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from specserve.backends.local.prompts.chat_template import ChatTemplate
    from specserve.backends.local.tools.formats.base import ToolFormat
    from specserve.backends.local.tools.tools import Tools

_SHORT_ID = 9
_DEEPEST = 64  # of arguments that are read; templates and their `tojson` go down by recursion
_TOOL = {
    "type": "function",
    "function": {
        "name": "probe_tool",
        "description": "Probes.",
        "parameters": {
            "type": "object",
            "properties": {"probe_key": {"type": "string", "description": "Probed."}},
            "required": ["probe_key"],
        },
    },
}
_ASKED = {"role": "user", "content": "probe"}


class ToolPrompts:
    """Tells the tools to one model.

    Attributes:
        form: How the model writes calls.
    """

    def __init__(self, template: ChatTemplate) -> None:
        known = format_of(template.source) if "tools" in template.variables else None
        self._as_objects: bool | None = None
        self.form: ToolFormat = GENERIC
        if known is None or "probe_tool" not in _tried(template, [_ASKED]):
            return
        self.form = known
        for as_objects in (True, False):  # what templates expect of arguments
            text = _tried(template, [_ASKED, *self._prepared(_conversation(), as_objects=as_objects)])
            if '{"probe_key": "probe_value"}' in text or (known.template[0].startswith("[func") and "probe" in text):
                self._as_objects = as_objects
                return
        self.form = GENERIC

    def prepared(
        self, messages: Sequence[Mapping[str, Any]], tools: Tools | None
    ) -> tuple[Sequence[Mapping[str, Any]], dict[str, Any]]:
        """Messages for the template, and what else it gets to read."""
        if self._as_objects is None:
            messages = generic.as_text(messages)
            return (messages if tools is None else generic.with_tools(messages, tools.offered)), {}
        variables = {} if tools is None else {"tools": list(tools.offered)}
        return self._prepared(messages, as_objects=self._as_objects), variables

    def _prepared(self, messages: Sequence[Mapping[str, Any]], *, as_objects: bool) -> list[Mapping[str, Any]]:
        made: list[Mapping[str, Any]] = []
        for given in messages:
            message = dict(given)
            if message.get("tool_calls"):
                message["tool_calls"] = [self._call(call, as_objects=as_objects) for call in message["tool_calls"]]
            if "tool_call_id" in message:
                message["tool_call_id"] = self._id(message["tool_call_id"])
            made.append(message)
        return made

    def _call(self, call: Mapping[str, Any], *, as_objects: bool) -> dict[str, Any]:
        function = call["function"]
        arguments: Any = function.get("arguments") or "{}"
        if as_objects:
            arguments = _as_object(arguments)
        return {**call, "id": self._id(call["id"]), "function": {**function, "arguments": arguments}}

    def _id(self, call_id: str) -> str:
        if not self.form.short_ids or (len(call_id) == _SHORT_ID and call_id.isalnum()):
            return call_id
        return hashlib.sha256(call_id.encode()).hexdigest()[:_SHORT_ID]


def _as_object(arguments: str) -> Any:
    """Arguments of a call as templates that write them out want them; what is no object stays text.

    A model can write anything as its arguments, and a client sends back what it wrote. No parser of ours is deeper than
    what was already read of the request, so what is nested more deeply stays text too.
    """
    try:
        read = orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return arguments
    return read if isinstance(read, dict) and _depth(read) <= _DEEPEST else arguments


def _depth(value: Any) -> int:
    """How deeply lists and objects are nested."""
    depth, level = 0, [value]
    while level:
        level = [
            inner
            for item in level
            if isinstance(item, dict | list)
            for inner in (item.values() if isinstance(item, dict) else item)
        ]
        depth += 1
    return depth


def _conversation() -> list[Mapping[str, Any]]:
    function = {"name": "probe_tool", "arguments": '{"probe_key": "probe_value"}'}
    return [
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"id": "probe0000", "type": "function", "function": function}],
        },
        {"role": "tool", "content": "probed", "tool_call_id": "probe0000"},
    ]


def _tried(template: ChatTemplate, messages: Sequence[Mapping[str, Any]]) -> str:
    try:
        return template.render(messages, {"tools": [_TOOL]})
    except InvalidRequest:
        return ""
