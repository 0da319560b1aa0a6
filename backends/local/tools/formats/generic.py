"""For models whose template knows no tools: told in the system message, with calls as Hermes writes them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from specserve.backends.local.tools.formats import hermes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FORMAT = replace(hermes.FORMAT, template=(), marks=(), taught=False)

_INTRODUCTION = """You can call functions. These are the functions, one JSON object a line:

{tools}

To call a function, answer with its name and its arguments, which must fit its parameters:

<tool_call>
{{"name": "the function's name", "arguments": {{"parameter": "value"}}}}
</tool_call>

You will get each result between <tool_response> and </tool_response>. If no function helps, answer without a call."""


def with_tools(messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Messages whose first tells of the tools."""
    lines = "\n".join(json.dumps(tool["function"], ensure_ascii=False) for tool in tools)
    text = _INTRODUCTION.format(tools=lines)
    if messages and messages[0]["role"] == "system":
        first = {**messages[0], "content": f"{messages[0]['content']}\n\n{text}"}
        return [first, *messages[1:]]
    return [{"role": "system", "content": text}, *messages]


def as_text(messages: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Messages with calls and results written as text, the results of several calls in one user message."""
    flat: list[Mapping[str, Any]] = []
    after_result = False
    for message in messages:
        if message["role"] == "tool":
            result = f"<tool_response>\n{message['content']}\n</tool_response>"
            if after_result:
                flat[-1] = {**flat[-1], "content": f"{flat[-1]['content']}\n{result}"}
            else:
                flat.append({"role": "user", "content": result})
        elif "tool_calls" in message:
            calls = [_written(call["function"]) for call in message["tool_calls"]]
            content = "\n".join([*([message["content"]] if message["content"] else []), *calls])
            kept = {key: value for key, value in message.items() if key != "tool_calls"}
            flat.append({**kept, "content": content})
        else:
            flat.append(message)
        after_result = message["role"] == "tool"
    return flat


def _written(function: Mapping[str, Any]) -> str:
    name = json.dumps(function["name"], ensure_ascii=False)
    return f'<tool_call>\n{{"name": {name}, "arguments": {function.get("arguments") or "{}"}}}\n</tool_call>'
