"""The official client's helpers for structured output, tools and streams. The protocol is forced, never hoped for."""

import json
from typing import Literal

import openai
import pytest
from pydantic import BaseModel
from servers import CHAT

ASK = {"model": CHAT, "messages": [{"role": "user", "content": "What is the weather in Paris?"}], "temperature": 0}


class Report(BaseModel):
    """What the model must fill in; closed, so that every answer is short."""

    city: Literal["Paris", "Rome"]
    sunny: bool


class GetWeather(BaseModel):
    """Look up the weather."""

    city: Literal["Paris", "Rome"]


@pytest.fixture
def client(default_server):
    with openai.OpenAI(base_url=f"{default_server.url}/v1", api_key="unused", max_retries=0) as client:
        yield client


def test_parse_gives_an_object_of_the_model(client):
    answer = client.chat.completions.parse(**ASK, response_format=Report)
    assert isinstance(answer.choices[0].message.parsed, Report)


def test_parse_says_that_the_answer_was_cut(client):
    with pytest.raises(openai.LengthFinishReasonError):
        client.chat.completions.parse(**ASK, response_format=Report, max_tokens=2)


def test_parse_reads_the_arguments_of_a_forced_call(client):
    tool = openai.pydantic_function_tool(GetWeather)
    answer = client.chat.completions.parse(**ASK, tools=[tool], tool_choice="required", parallel_tool_calls=False)
    [call] = answer.choices[0].message.tool_calls
    assert isinstance(call.function.parsed_arguments, GetWeather)
    assert answer.choices[0].finish_reason == "tool_calls"


def test_the_stream_helper_ends_with_the_same_object(client):
    with client.chat.completions.stream(**ASK, response_format=Report) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_completion()
    assert {"chunk", "content.delta", "content.done"} <= set(kinds)
    assert isinstance(final.choices[0].message.parsed, Report)


def test_the_stream_helper_puts_a_call_together(client):
    tool = openai.pydantic_function_tool(GetWeather)
    with client.chat.completions.stream(
        **ASK, tools=[tool], tool_choice="required", parallel_tool_calls=False
    ) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_completion()
    assert "tool_calls.function.arguments.done" in kinds
    [call] = final.choices[0].message.tool_calls
    assert isinstance(call.function.parsed_arguments, GetWeather)


def test_a_round_of_tools_with_the_message_sent_back_as_it_came(client):
    tool = openai.pydantic_function_tool(GetWeather)
    named = {"type": "function", "function": {"name": "GetWeather"}}
    message = client.chat.completions.create(**ASK, tools=[tool], tool_choice=named).choices[0].message
    [call] = message.tool_calls
    assert GetWeather.model_validate_json(call.function.arguments)
    result = {"role": "tool", "tool_call_id": call.id, "content": json.dumps({"sunny": True})}
    more = ASK | {"messages": [*ASK["messages"], message, result]}
    answer = client.chat.completions.create(**more, tools=[tool], tool_choice="none", max_tokens=16)
    assert answer.choices[0].message.content
    assert answer.choices[0].message.tool_calls is None
