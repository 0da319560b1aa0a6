"""A chat request as IBM wants it. IBM's API is near to OpenAI's; what differs is here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from specserve.spec.errors import InvalidRequest, UnsupportedParameter, UnsupportedValue

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_SAME = (
    "frequency_penalty",
    "logit_bias",
    "n",
    "presence_penalty",
    "repetition_penalty",
    "seed",
    "temperature",
)
PARAMETERS = frozenset(
    {
        *_SAME,
        "logprobs",
        "max_completion_tokens",
        "max_tokens",
        "messages",
        "model",
        "prompt",
        "reasoning_effort",
        "response_format",
        "stop",
        "stream",
        "stream_options",
        "top_logprobs",
        "top_p",
    }
)
TOOL_PARAMETERS = frozenset({"messages.tool", "parallel_tool_calls", "tool_choice", "tools"})
_EFFORTS = ("low", "medium", "high")


def chat_body(asked: Mapping[str, Any], ignore: Callable[[str], None] = lambda _place: None) -> dict[str, Any]:
    """What ``/ml/v1/text/chat`` takes, except the model and the project or space.

    Args:
        asked: The parameters that the client sent, as JSON.
        ignore: Called with the place of what IBM's API has no field for and is left out.

    Raises:
        InvalidRequest: Parameters contradict each other, or ask for what IBM's API cannot say.
    """
    body: dict[str, Any] = {"messages": _messages(asked, ignore)}
    body |= {name: asked[name] for name in _SAME if asked.get(name) is not None}
    body["max_completion_tokens"] = _limit(asked)
    if asked.get("logprobs"):
        body["logprobs"] = True
        if asked.get("top_logprobs"):
            body["top_logprobs"] = asked["top_logprobs"]
    elif asked.get("top_logprobs"):
        raise InvalidRequest("'top_logprobs' is only allowed when 'logprobs' is true.", param="top_logprobs")
    if asked.get("stop") is not None:
        body["stop"] = stops(asked["stop"])
    if asked.get("top_p") is not None:
        body["top_p"] = share(asked["top_p"])
    effort = asked.get("reasoning_effort")
    if effort is not None:
        if effort not in _EFFORTS:
            raise UnsupportedValue(f"This model takes {', '.join(_EFFORTS)}.", param="reasoning_effort")
        body["reasoning_effort"] = effort
    form = _response_format(asked.get("response_format"))
    return body | form | _tools(asked)


def stops(stop: str | Sequence[str]) -> list[str]:
    """The strings that end the answer, each but once, as IBM wants them."""
    return [stop] if isinstance(stop, str) else list(dict.fromkeys(stop))


def share(top_p: float) -> float:
    """The share of the probability to sample from.

    Raises:
        UnsupportedValue: It is nothing, which IBM does not take.
    """
    if top_p == 0:
        raise UnsupportedValue("This model takes values above 0; 'temperature': 0 is greedy.", param="top_p")
    return top_p


def _limit(asked: Mapping[str, Any]) -> int:
    """The limit of the answer. 0 is IBM's word for what the model can do at most; without it 1024 would be."""
    old, new = asked.get("max_tokens"), asked.get("max_completion_tokens")
    if old is not None and new is not None and old != new:
        raise InvalidRequest("Give either 'max_completion_tokens' or 'max_tokens', not both.", param="max_tokens")
    return new or old or 0


def _messages(asked: Mapping[str, Any], ignore: Callable[[str], None]) -> list[dict[str, Any]]:
    if asked.get("messages") is None:
        return [{"role": "user", "content": asked.get("prompt") or ""}]
    return [_message(message, f"messages[{at}]", ignore) for at, message in enumerate(asked["messages"])]


def _message(message: Mapping[str, Any], where: str, ignore: Callable[[str], None]) -> dict[str, Any]:
    role, content = message["role"], message.get("content")
    if role == "function" or message.get("function_call"):
        raise UnsupportedParameter("This model knows tools, not the older functions.", param=where)
    said: dict[str, Any] = {"role": "system" if role == "developer" else role}
    if role == "user" and isinstance(content, list):
        said["content"] = [_part(part, f"{where}.content[{at}]") for at, part in enumerate(content)]
    elif content is not None:
        said["content"] = content if isinstance(content, str) else "".join(part[part["type"]] for part in content)
    if message.get("refusal") is not None:
        said["refusal"] = message["refusal"]
    if message.get("tool_calls"):
        said["tool_calls"] = [_call(call, f"{where}.tool_calls[{at}]") for at, call in enumerate(message["tool_calls"])]
    elif role == "assistant" and "content" not in said:
        said["content"] = ""  # IBM requires one of the two
    kept = ["name", "tool_call_id"]
    if role == "tool" and message.get("name") is not None:
        ignore(f"{where}.name")
        kept.remove("name")
    return said | {key: message[key] for key in kept if message.get(key) is not None}


def _part(part: Mapping[str, Any], where: str) -> dict[str, Any]:
    kind = part["type"]
    value = part[kind]
    if kind == "image_url" and not value["url"].startswith("data:"):
        raise UnsupportedValue("This model takes images as data: URLs only.", param=f"{where}.image_url.url")
    return {"type": kind, kind: value}


def _call(call: Mapping[str, Any], where: str) -> dict[str, Any]:
    if call["type"] != "function":
        raise UnsupportedParameter("This model calls functions only.", param=where)
    return {"id": call["id"], "type": "function", "function": dict(call["function"])}


def _response_format(form: Mapping[str, Any] | None) -> dict[str, Any]:
    if form is None or form["type"] == "text":
        return {}
    if form["type"] == "json_object":
        return {"response_format": {"type": "json_object"}}
    asked = form["json_schema"]
    schema = asked.get("schema")
    if schema is None:
        raise UnsupportedValue("This model needs the schema.", param="response_format.json_schema.schema")
    if asked.get("description"):
        schema = {"description": asked["description"]} | schema  # IBM has no other place for it
    wanted = {"name": asked["name"], "schema": schema}
    if asked.get("strict") is not None:
        wanted["strict"] = asked["strict"]
    return {"response_format": {"type": "json_schema", "json_schema": wanted}}


def _tools(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Tools and the choice among them. IBM has one key for the mode and one for the tool that must be called."""
    tools, choice = asked.get("tools"), asked.get("tool_choice", "auto")
    if not tools:
        if choice not in ("none", "auto"):
            raise InvalidRequest("'tool_choice' is only allowed when 'tools' are given.", param="tool_choice")
        return {}
    given = [_tool(tool, f"tools[{at}]") for at, tool in enumerate(tools)]
    if isinstance(choice, str):
        return {"tools": given, "tool_choice_option": choice}
    if choice["type"] == "function":
        _find(choice["function"]["name"], given, "tool_choice.function.name")
        return {"tools": given, "tool_choice": {"type": "function", "function": {"name": choice["function"]["name"]}}}
    if choice["type"] == "allowed_tools":
        among = choice["allowed_tools"]
        allowed = [
            _find(_name(tool), given, f"tool_choice.allowed_tools.tools[{at}]")
            for at, tool in enumerate(among["tools"])
        ]
        if not allowed:
            raise InvalidRequest("Allow at least one tool.", param="tool_choice.allowed_tools.tools")
        return {"tools": allowed, "tool_choice_option": among["mode"]}
    raise UnsupportedParameter("This model calls functions only.", param="tool_choice")


def _tool(tool: Mapping[str, Any], where: str) -> dict[str, Any]:
    if tool["type"] != "function":
        raise UnsupportedParameter("This model calls functions only.", param=where)
    function = tool["function"]
    if function.get("strict"):
        raise UnsupportedValue("This model cannot be held to a function's schema.", param=f"{where}.function.strict")
    return {"type": "function", "function": {key: function[key] for key in function if key != "strict"}}


def _find(name: str | None, tools: Sequence[dict[str, Any]], where: str) -> dict[str, Any]:
    for tool in tools:
        if tool["function"]["name"] == name:
            return tool
    raise InvalidRequest("There is no such tool in 'tools'.", param=where)


def _name(tool: Mapping[str, Any]) -> str | None:
    function = tool.get("function")
    return function.get("name") if isinstance(function, dict) else None
