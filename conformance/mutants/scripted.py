"""Good answers for what the golden server refuses: calls of functions and structured answers, word for word.

`echo` is an honest toy: it refuses both. So that the mutants of these families have a good answer to change, the proxy
gives one here, as the contract describes it.
"""

from __future__ import annotations

import itertools
import json
from typing import Any

from specserve.conformance.mutants.reply import Reply

_numbers = itertools.count(1)
_CREATED = 1767225600


def answer(request: Any) -> Reply | None:
    """The answer to a chat request with tools or a form, or None for any other."""
    if not isinstance(request, dict) or "messages" not in request or not request.get("model"):
        return None
    if request.get("tools"):
        return _tools(request)
    form = request.get("response_format")
    return (
        _structured(request, form)
        if isinstance(form, dict) and form.get("type") in {"json_object", "json_schema"}
        else None
    )


def _tools(request: dict[str, Any]) -> Reply | None:
    tools, choice = request["tools"], request.get("tool_choice", "auto")
    if not isinstance(tools, list):
        return None  # the golden server refuses it
    names = [tool.get("function", {}).get("name") for tool in tools]
    if None in names:
        return _refuse("tools[0].function.name", "A function needs a name.")
    if isinstance(choice, dict):
        name = choice["function"]["name"]
        if name not in names:
            return _refuse("tool_choice", "There is no such function.")
        return _call(request, name, finish="stop")
    if choice == "none" or any(message.get("role") == "tool" for message in request["messages"]):
        return _say(request, "It is sunny.")
    return _call(request, names[-1], finish="tool_calls")


def _structured(request: dict[str, Any], form: dict[str, Any]) -> Reply:
    if form["type"] == "json_object":
        return _say(request, '{"city": "Paris"}')
    definition = form.get("json_schema", {})
    schema = definition.get("schema", {})
    if "name" not in definition:
        return _refuse("response_format.json_schema.name", "A schema needs a name.")
    if schema.get("type") != "object":
        return _refuse("response_format.json_schema.schema", "This is no JSON schema.")
    return _say(request, json.dumps({key: part["enum"][0] for key, part in schema["properties"].items()}))


def _call(request: dict[str, Any], name: str, finish: str) -> Reply:
    arguments = '{"city": "Paris"}'
    head = {"id": f"call_{next(_numbers)}", "type": "function"}
    if request.get("stream"):
        parts: list[dict[str, Any]] = [
            {"role": "assistant", "content": None},
            {"tool_calls": [{"index": 0, **head, "function": {"name": name, "arguments": ""}}]},
            {"tool_calls": [{"index": 0, "function": {"arguments": arguments[:9]}}]},
            {"tool_calls": [{"index": 0, "function": {"arguments": arguments[9:]}}]},
        ]
        return _stream(request, parts, finish)
    call = {**head, "function": {"name": name, "arguments": arguments}}
    return _plain(request, {"role": "assistant", "content": None, "refusal": None, "tool_calls": [call]}, finish)


def _say(request: dict[str, Any], text: str) -> Reply:
    if request.get("stream"):
        half = len(text) // 2
        parts: list[dict[str, Any]] = [
            {"role": "assistant", "content": ""},
            {"content": text[:half]},
            {"content": text[half:]},
        ]
        return _stream(request, parts, "stop")
    return _plain(request, {"role": "assistant", "content": text, "refusal": None}, "stop")


def _plain(request: dict[str, Any], message: dict[str, Any], finish: str) -> Reply:
    reply = Reply(200)
    reply.set_json(
        {
            "id": f"chatcmpl-scripted-{next(_numbers)}",
            "object": "chat.completion",
            "created": _CREATED,
            "model": request["model"],
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": finish}],
            "usage": {"prompt_tokens": 20, "completion_tokens": 9, "total_tokens": 29},
        }
    )
    return reply


def _stream(request: dict[str, Any], parts: list[dict[str, Any]], finish: str) -> Reply:
    head: dict[str, Any] = {
        "id": f"chatcmpl-scripted-{next(_numbers)}",
        "object": "chat.completion.chunk",
        "created": _CREATED,
        "model": request["model"],
    }
    choices: list[dict[str, Any]] = [
        {"index": 0, "delta": part, "logprobs": None, "finish_reason": None} for part in parts
    ]
    choices.append({"index": 0, "delta": {}, "logprobs": None, "finish_reason": finish})
    reply = Reply(200, {"content-type": "text/event-stream; charset=utf-8"})
    reply.set_events([*({**head, "choices": [choice]} for choice in choices), "[DONE]"])
    return reply


def _refuse(param: str, message: str) -> Reply:
    reply = Reply(400)
    reply.set_json({"error": {"message": message, "type": "invalid_request_error", "param": param, "code": None}})
    return reply
