"""What a request says about tools: which there are, which may be called, and whether one must be."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from specserve.backends.local.grammars.grammar import Choice, Free, Grammar, Node, Ref, Row, Rules, choice, row
from specserve.backends.local.grammars.json_schema import SchemaGrammar, checked, object_grammar
from specserve.backends.local.grammars.schema_reading import Place
from specserve.spec.errors import APIError, InvalidRequest, UnsupportedValue

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from specserve.backends.local.text.plan import Plan
    from specserve.backends.local.tools.formats.base import ToolFormat

_NO_PARAMETERS = {"type": "object", "properties": {}, "additionalProperties": False}


@dataclass(frozen=True)
class Tools:
    """The tools of one request, at least one.

    Attributes:
        offered: As the request has them.
        allowed: Names of those that may be called.
        mode: Whether a call is up to the model, one is required, or it is that of one function.
        several: Whether one answer may call several times.
    """

    offered: Sequence[Mapping[str, Any]]
    allowed: frozenset[str]
    mode: Literal["auto", "required", "named"]
    several: bool

    @property
    def forced(self) -> bool:
        """Whether the answer is nothing but calls."""
        return self.mode != "auto"


def read_tools(asked: Mapping[str, Any], *, one_required: bool = False) -> Tools | None:
    """What a chat request says about tools; None if the model shall not know of any.

    Args:
        asked: The request's parameters.
        one_required: Whether an answer that must call does so once, though the request allows more.

    Raises:
        UnsupportedValue: A tool takes text of a grammar of its own.
        InvalidRequest: A choice without tools, or of one that is not offered; two tools of one name.
    """
    offered: list[dict[str, Any]] = asked["tools"] or []
    chosen = asked["tool_choice"]
    for at, tool in enumerate(offered):
        if tool["type"] != "function":
            raise UnsupportedValue("This model calls functions only.", param=f"tools[{at}].type")
    names = [tool["function"]["name"] for tool in offered]
    for at, name in enumerate(names):
        if name in names[:at]:
            raise InvalidRequest("Two tools have the same name.", param=f"tools[{at}].function.name")
    if not offered and chosen not in (None, "none", "auto"):
        raise InvalidRequest("'tool_choice' is only allowed when 'tools' are given.", param="tool_choice")
    if not offered or chosen == "none":
        return None
    several = asked["parallel_tool_calls"] is not False
    if not isinstance(chosen, dict):
        return _limited(Tools(offered, frozenset(names), chosen or "auto", several), one_required=one_required)
    if chosen["type"] == "custom":
        raise UnsupportedValue("This model calls functions only.", param="tool_choice.type")
    if chosen["type"] == "function":
        return Tools(offered, _offered([chosen], names), "named", several=False)
    among = chosen["allowed_tools"]
    return _limited(Tools(offered, _offered(among["tools"], names), among["mode"], several), one_required=one_required)


def _limited(tools: Tools, *, one_required: bool) -> Tools:
    return replace(tools, several=False) if one_required and tools.mode == "required" else tools


def _offered(chosen: Sequence[Mapping[str, Any]], names: Sequence[str]) -> frozenset[str]:
    wanted = [tool.get("function", {}).get("name") for tool in chosen]
    if not wanted or any(name not in names for name in wanted):
        raise InvalidRequest("'tool_choice' names a tool that is not in 'tools'.", param="tool_choice")
    return frozenset(wanted)


def answer_grammar(tools: Tools | None, form: ToolFormat, text: Grammar | None) -> Grammar | None:
    """What the answer must look like; None if anything goes.

    Args:
        tools: The tools, if there are any.
        form: How the model writes calls.
        text: What an answer without calls must look like, or None.

    Raises:
        UnsupportedValue: A function that must, or strictly, be called by its schema has one that cannot be enforced.
        InvalidRequest: The parameters of a function are no JSON Schema.
    """
    if tools is None:
        return text
    if tools.forced:
        rules = Rules()
        node = form.forced.calls(_arguments(tools, rules), several=tools.several)
        rules.set(Ref("root"), node)
        return checked(Grammar(rules.rules), "tools")
    try:
        return _when_called(tools, form, text)
    except UnsupportedValue:
        if text is not None or any(tool["function"].get("strict") for tool in tools.offered):
            raise
        return None  # the arguments are then what the model makes of them


def ending_after_call(planned: Plan, tools: Tools | None, form: ToolFormat) -> Plan:
    """The plan with answers that end with their first call, if there may be no second and the format can tell."""
    if tools is None or tools.several or tools.forced or not form.ends_call:
        return planned
    jobs = [
        replace(job, sampling=replace(job.sampling, stop=(*job.sampling.stop, form.ends_call))) for job in planned.jobs
    ]
    return replace(planned, jobs=jobs)


def _when_called(tools: Tools, form: ToolFormat, text: Grammar | None) -> Grammar | None:
    """Free text, or `text`, but calls are whole once they begin."""
    strict = any(tool["function"].get("strict") for tool in tools.offered)
    if text is None and not form.triggers:
        if strict:
            raise UnsupportedValue(
                "This model cannot promise strict arguments unless a call is required.", param="tools"
            )
        return None
    rules = Rules()
    if text is not None:
        rules.rules.update(text.rules)
        calls = form.forced.calls(_arguments(tools, rules), several=tools.several)
        rules.set(Ref("root"), choice([rules.add("text", text.rules["root"]), rules.add("calls", calls)]))
        return checked(Grammar(rules.rules), "tools")
    call = form.calls(_arguments(tools, rules), several=False)
    rules.set(Ref("root"), Free(((form.begins, rules.add("call", _behind(form.begins, call))),)))
    return checked(Grammar(rules.rules), "tools")


def _behind(begins: str, call: Node) -> Node:
    """What follows the beginning of a call."""
    if isinstance(call, Choice):
        return choice([_behind(begins, part) for part in call.parts])
    first, *rest = call.parts if isinstance(call, Row) else (call,)
    if not isinstance(first, str) or not first.startswith(begins):
        raise ValueError("a format whose calls do not begin as it says")
    return row(first.removeprefix(begins), *rest)


def _arguments(tools: Tools, rules: Rules) -> dict[str, Node]:
    """The grammar of the arguments of each function that may be called.

    A schema that cannot be held to fails the request only if the function must be called, or is strict; else any object
    will do as its arguments.
    """
    nodes: dict[str, Node] = {}
    for at, tool in enumerate(tools.offered):
        function = tool["function"]
        if function["name"] not in tools.allowed:
            continue
        strict = bool(function.get("strict"))
        try:
            own = _arguments_of(function, Place(f"tools[{at}].function.parameters"), strict=strict)
        except APIError:
            if strict or tools.forced:
                raise
            own = object_grammar()
        nodes[function["name"]] = rules.include(own, "arguments")
    return nodes


def _arguments_of(function: Mapping[str, Any], place: Place, *, strict: bool) -> Grammar:
    schema = function.get("parameters") or _NO_PARAMETERS
    schema = {"type": "object", **schema}
    if schema["type"] != "object":
        raise place.invalid("type", "must be 'object': arguments have names")
    rules = Rules()
    rules.set(Ref("root"), SchemaGrammar(schema, place, rules, strict=strict).root())
    return Grammar(rules.rules)
