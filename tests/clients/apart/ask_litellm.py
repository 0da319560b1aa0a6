"""LiteLLM: the tool loop of its documentation, which sends its own messages and names back; streams, embeddings."""

import json

import litellm
from each import CHAT, EMBED, QUESTION, URL, each

REACH = {"api_base": URL, "api_key": "unused", "num_retries": 0}
ASK = {"model": f"openai/{CHAT}", "temperature": 0, "max_tokens": 40, **REACH}
PLACE = {"type": "string", "description": "The city and state", "enum": ["Paris", "Rome"]}
UNIT = {"type": "string", "enum": ["celsius", "fahrenheit"]}
PARAMETERS = {"type": "object", "properties": {"location": PLACE, "unit": UNIT}, "required": ["location"]}
WEATHER = {"name": "get_current_weather", "description": "Get the current weather", "parameters": PARAMETERS}
TOOLS = [{"type": "function", "function": WEATHER}]


def tool_loop():
    messages = [{"role": "user", "content": QUESTION}]
    answer = litellm.completion(**ASK, messages=messages, tools=TOOLS, tool_choice="required").choices[0].message
    assert answer.tool_calls
    messages.append(answer)
    for call in answer.tool_calls:
        place = json.loads(call.function.arguments)["location"]
        content = json.dumps({"location": place, "temperature": "22", "unit": "celsius"})
        messages.append({"tool_call_id": call.id, "role": "tool", "name": call.function.name, "content": content})
    final = litellm.completion(**ASK, messages=messages).choices[0].message.content
    assert final
    return final


def tools_that_may_be_called():
    ask = {**ASK, "max_tokens": 8, "messages": [{"role": "user", "content": QUESTION}]}
    return litellm.completion(**ask, tools=TOOLS, tool_choice="auto").choices[0].finish_reason


def stream():
    ask = {**ASK, "messages": [{"role": "user", "content": QUESTION}], "stream_options": {"include_usage": True}}
    pieces = list(litellm.completion(**ask, stream=True))
    text = "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices)
    assert text
    return text


def embedding():
    data = litellm.embedding(model=f"openai/{EMBED}", input=["a", "b"], **REACH).data
    assert len(data) == 2
    return len(data[0]["embedding"])


each(tool_loop, tools_that_may_be_called, stream, embedding)
