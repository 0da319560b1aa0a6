"""Request bodies as programs send them that are no library to install: Home Assistant (its add-on Extended OpenAI
Conversation, also for AI tasks) and n8n's nodes, which send what LangChain for JavaScript makes.
"""

import json

import pytest
from servers import CHAT

CALLS = [{"id": "call_1", "type": "function", "function": {"name": "lamp", "arguments": '{"entity": "light.hall"}'}}]
LAMP = {
    "name": "lamp",
    "description": "Turn on a lamp",
    "parameters": {"type": "object", "properties": {"entity": {"type": "string"}}, "required": ["entity"]},
}
HOME = [
    {"role": "system", "content": "You control a smart home.\nToday is 2026-11-27."},
    {"role": "user", "content": "Turn on the light in the hall"},
]
HOME_SENDS = {
    "model": CHAT,
    "stream": True,
    "stream_options": {"include_usage": True},
    "max_tokens": 12,
    "top_p": 1,
    "temperature": 0.5,
    "tools": [{"type": "function", "function": LAMP}],
    "tool_choice": "auto",
}
# Voluptuous schemas become this: `strict` inside of the schema too, and null for what is optional.
TASK = {
    "type": "object",
    "strict": True,
    "additionalProperties": False,
    "required": ["place", "rain"],
    "properties": {
        "place": {"type": "string", "enum": ["hall", "kitchen"]},
        "rain": {"type": ["boolean", "null"], "description": "Whether it rains"},
    },
}
# The schema of a tool in n8n comes from zod, or from `$fromAI`, with the key `$schema`.
N8N_TOOL = {
    "type": "function",
    "function": {
        "name": "Calculator",
        "description": "Useful for getting the result of a math expression.",
        "parameters": {
            "type": "object",
            "properties": {"input": {"type": "string"}},
            "additionalProperties": False,
            "$schema": "http://json-schema.org/draft-07/schema#",
        },
    },
}
N8N_SENDS = {
    "model": CHAT,
    "temperature": 0.7,
    "top_p": 1,
    "frequency_penalty": 0,
    "presence_penalty": 0,
    "n": 1,
    "stream": True,
    "stream_options": {"include_usage": True},
    "max_tokens": 12,
    "messages": [
        {"role": "system", "content": "You are a helpful assistant"},
        {"role": "user", "content": [{"type": "text", "text": "What is 2 + 2?"}]},
    ],
}
N8N_CALL = [{"id": "call_1", "type": "function", "function": {"name": "Calculator", "arguments": '{"input":"2+2"}'}}]
BODIES = {
    "home assistant, a first request": {**HOME_SENDS, "messages": HOME},
    "home assistant, a user's id": {**HOME_SENDS, "messages": HOME, "user": "01JD8Z0V7W8Y9X"},
    "home assistant, after a call, without content": {
        **HOME_SENDS,
        "messages": [
            *HOME,
            {"role": "assistant", "tool_calls": CALLS},
            {"role": "tool", "tool_call_id": "call_1", "content": '{"success":true}'},
        ],
    },
    "home assistant, no more calls": {**HOME_SENDS, "messages": HOME, "tool_choice": "none"},
    "n8n, a chain": N8N_SENDS,
    "n8n, an agent": {**N8N_SENDS, "tools": [N8N_TOOL]},
    "n8n, an agent after a call": {
        **N8N_SENDS,
        "tools": [N8N_TOOL],
        "messages": [
            *N8N_SENDS["messages"],
            {"role": "assistant", "content": "", "tool_calls": N8N_CALL},
            {"role": "tool", "content": "4", "name": "Calculator", "tool_call_id": "call_1"},
        ],
    },
    "n8n, JSON mode": {**N8N_SENDS, "response_format": {"type": "json_object"}},
}


def streamed(client, body):
    """The chunks of a stream, all of them, up to `[DONE]`."""
    answer = client.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200, answer.text
    events = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: ")]
    assert events.pop() == "[DONE]"
    return [json.loads(event) for event in events]


@pytest.mark.parametrize("name", BODIES)
def test_a_body_as_it_is_sent_is_answered(name, default):
    chunks = streamed(default, BODIES[name])
    assert not [chunk for chunk in chunks if "error" in chunk]
    assert chunks[-1]["usage"]["completion_tokens"] > 0
    assert [choice["finish_reason"] for chunk in chunks for choice in chunk["choices"]][-1]


def test_a_task_of_home_assistant_gets_what_its_schema_says(default):
    form = {"type": "json_schema", "json_schema": {"name": "report", "strict": True, "schema": TASK}}
    chunks = streamed(
        default,
        {**HOME_SENDS, "messages": HOME, "tools": None, "tool_choice": None, "max_tokens": 60}
        | {"response_format": form},
    )
    text = "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])
    answer = json.loads(text)
    assert answer["place"] in ("hall", "kitchen")
    assert answer["rain"] in (True, False, None)
