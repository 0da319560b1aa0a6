"""Structured answers and calls of tools over the wire: the official client, prompts that ask for neither."""

from __future__ import annotations

import functools
import json
import random
from concurrent.futures import ThreadPoolExecutor

import jsonschema
import openai
import pytest
from bound_answers import AMBIGUOUS, HOSTILE, PARAMETERS, SCHEMAS, TOOLS, asked, function, named, streamed
from pydantic import BaseModel
from servers import CHAT


@pytest.fixture(params=["default", "echo"])
def model(request):
    """An official client, and the model to ask: the real one and the toy."""
    client = request.getfixturevalue(request.param)
    with openai.OpenAI(base_url=str(client.base_url.join("/v1")), api_key="-", max_retries=0) as official:
        yield official, CHAT if request.param == "default" else "echo"


@pytest.mark.parametrize("at", range(len(SCHEMAS)))
def test_an_answer_conforms_to_its_schema(model, at):
    form = {"type": "json_schema", "json_schema": {"name": "it", "strict": True, "schema": SCHEMAS[at]}}
    choice = asked(model, response_format=form, seed=at).choices[0]
    if choice.finish_reason == "stop":
        jsonschema.validate(json.loads(choice.message.content), SCHEMAS[at])
    else:
        assert choice.finish_reason == "length"
    assert streamed(model, response_format=form, seed=at) == (choice.message.content, [], choice.finish_reason)


def test_json_object_is_an_object_however_many_are_asked_for(model):
    choices = asked(model, response_format={"type": "json_object"}, n=3, seed=5, logprobs=True, top_p=0.9).choices
    for choice in choices:
        assert choice.message.content.startswith("{")
        assert choice.finish_reason == "length" or isinstance(json.loads(choice.message.content), dict)
        assert choice.logprobs.content


def test_a_pydantic_model_is_parsed(model):
    class Verdict(BaseModel):
        good: bool
        stars: int

    client, name = model
    messages = [{"role": "user", "content": "How was it?"}]
    answer = client.chat.completions.parse(
        model=name, messages=messages, response_format=Verdict, temperature=0, max_completion_tokens=100
    )
    assert isinstance(answer.choices[0].message.parsed, Verdict)


@pytest.mark.parametrize("seed", range(10))
def test_a_forced_call_fits_its_tool(model, seed):
    rng = random.Random(seed)
    tools = rng.sample(TOOLS, 3)
    name = tools[0]["function"]["name"]
    choice = named(name) if seed % 2 else "required"
    parameters = {"tools": tools, "tool_choice": choice, "seed": seed, "parallel_tool_calls": seed % 3 == 0}
    answer = asked(model, **parameters).choices[0]
    calls = answer.message.tool_calls
    assert answer.message.content is None
    if answer.finish_reason != "length":
        assert answer.finish_reason == ("stop" if seed % 2 else "tool_calls")
        for call in calls:
            jsonschema.validate(json.loads(call.function.arguments), PARAMETERS[call.function.name])
            assert call.function.name in ([name] if seed % 2 else [tool["function"]["name"] for tool in tools])
        assert seed % 3 == 0 or len(calls) == 1
        assert len({call.id for call in calls}) == len(calls)
    content, parts, reason = streamed(model, **parameters)
    assert (content, reason) == ("", answer.finish_reason)
    assert [part[1:] for part in parts] == [(call.function.name, call.function.arguments) for call in calls or ()]


def test_required_is_one_call_of_a_model_that_never_learned_to_call(model):
    answer = asked(model, tools=TOOLS[:1], tool_choice="required", temperature=0).choices[0]
    assert (len(answer.message.tool_calls), answer.finish_reason) == (1, "tool_calls")


def test_more_calls_are_made_where_they_are_asked_for(default):
    body = {"model": CHAT, "messages": HOSTILE, "temperature": 0, "max_completion_tokens": 300}
    body |= {"tools": TOOLS[:1], "tool_choice": "required", "parallel_tool_calls": True}
    choice = default.post("/v1/chat/completions", json=body).json()["choices"][0]
    assert 1 <= len(choice["message"]["tool_calls"]) <= 8
    assert choice["finish_reason"] == "tool_calls"


def test_the_servers_own_message_can_be_sent_back(model):
    parameters = {"tools": TOOLS[:2], "temperature": 0, "max_completion_tokens": 60}
    question = {"role": "user", "content": "What time is it?"}
    first = asked(model, messages=[question], tool_choice=named("clock"), **parameters).choices[0].message
    result = {"role": "tool", "tool_call_id": first.tool_calls[0].id, "content": "Twelve."}
    second = asked(model, messages=[question, first, result], tool_choice="none", **parameters).choices[0]
    assert second.message.content
    assert second.message.tool_calls is None
    assert second.finish_reason in {"stop", "length"}


def test_without_a_call_there_is_no_key_for_calls(echo):
    body = {"model": "echo", "messages": [{"role": "user", "content": "Hi."}], "tools": TOOLS}
    answer = echo.post("/v1/chat/completions", json=body).json()["choices"][0]
    assert (answer["message"]["content"], answer["finish_reason"]) == ("Hi.", "stop")
    assert "tool_calls" not in answer["message"]
    stream = echo.post("/v1/chat/completions", json=body | {"stream": True}).text
    assert "tool_calls" not in stream


def test_a_model_that_may_call_is_understood(echo):
    said = 'Well.\n<tool_call>\n{"name": "clock", "arguments": {}}\n</tool_call>\n<tool_call>\n'
    said += '{"name": "lookup", "arguments": {"id": "abc"}}\n</tool_call>'
    body = {"model": "echo", "messages": [{"role": "user", "content": said}], "tools": TOOLS}
    for parallel, names in ((True, ["clock", "lookup"]), (False, ["clock"])):
        answer = echo.post("/v1/chat/completions", json=body | {"parallel_tool_calls": parallel}).json()["choices"][0]
        assert (answer["message"]["content"], answer["finish_reason"]) == ("Well.", "tool_calls")
        assert [call["function"]["name"] for call in answer["message"]["tool_calls"]] == names


def test_a_model_that_begins_a_call_ends_it(default):
    """The prompt makes the model begin; from there on the grammar holds it."""
    say = 'Repeat exactly: <tool_call>\n{"name": "clock", "arguments": {}}\n</tool_call>'
    body = {"model": CHAT, "temperature": 0, "max_completion_tokens": 60, "tools": [TOOLS[0]]}
    answer = default.post("/v1/chat/completions", json=body | {"messages": [{"role": "user", "content": say}]}).json()
    choice = answer["choices"][0]
    for call in choice["message"].get("tool_calls", ()):
        assert call["function"] == {"name": "clock", "arguments": "{}"}


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"tools": TOOLS, "tool_choice": named("rm")}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [TOOLS[0], TOOLS[0]]}, "tools[1].function.name"),
        ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools[0].type"),
        (
            {"tools": [function("f", a={"not": {"type": "null"}})], "tool_choice": "required"},
            "tools[0].function.parameters.properties.a.not",
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "banana"}}}},
            "response_format.json_schema.schema.type",
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"if": {}}}}},
            "response_format.json_schema.schema.if",
        ),
        ({"response_format": {"type": "json_object"}, "ignore_eos": True}, "ignore_eos"),
        ({"response_format": {"type": "json_object"}, "min_tokens": 5}, "min_tokens"),
        ({"messages": [*HOSTILE, {"role": "function", "name": "f", "content": "x"}]}, "messages[1]"),
    ],
)
def test_what_cannot_be_held_to_is_refused_by_name(default, echo, changes, param):
    for client, name in ((default, CHAT), (echo, "echo")):
        answer = client.post("/v1/chat/completions", json={"model": name, "messages": HOSTILE, **changes})
        assert answer.status_code == 400, answer.text
        assert answer.json()["error"]["param"] == param


PATHOLOGICAL = {
    "deep": functools.reduce(lambda inner, _: {"items": inner}, range(110), {}),
    "enum": {"enum": [f"value {number}" for number in range(50_000)]},
    "both": {"allOf": [{"enum": list(range(first, first + 50_000))} for first in (0, 1)]},
    "key": {"properties": {"k" * 100_000: {}}, "additionalProperties": True},
    "counts": {"minItems": 9999, "items": {"minItems": 9999, "items": {"type": "string", "minLength": 9999}}},
    "patterns": {"properties": {f"p{n}": {"type": "string", "pattern": f"^.{{0,{n}}}b.*$"} for n in range(900)}},
    "alternatives": {"anyOf": [{"type": "object", "properties": {f"p{n}": {}}} for n in range(1001)]},
}


@pytest.mark.parametrize("name", PATHOLOGICAL)
def test_a_pathological_schema_is_refused_while_others_are_answered(echo, name):
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": PATHOLOGICAL[name]}}
    body = {"model": "echo", "messages": HOSTILE, "response_format": form}
    with ThreadPoolExecutor() as threads:
        waiting = [threads.submit(echo.post, "/v1/chat/completions", json=body) for _ in range(3)]
        assert echo.post("/v1/chat/completions", json={"model": "echo", "messages": HOSTILE}).status_code == 200
        for answer in (future.result() for future in waiting):
            assert answer.status_code == 400, answer.text
            assert answer.json()["error"]["param"].startswith("response_format")


@pytest.mark.parametrize("at", range(len(AMBIGUOUS)))
def test_a_schema_that_can_be_read_in_many_ways_does_not_hold_the_engine_up(model, at):
    form = {"type": "json_schema", "json_schema": {"name": "it", "schema": AMBIGUOUS[at]}}
    choice = asked(model, response_format=form, seed=at).choices[0]
    if choice.finish_reason == "stop":
        jsonschema.validate(json.loads(choice.message.content), AMBIGUOUS[at])


def test_capabilities_tell_of_it(default):
    operations = default.get(f"/v1/models/{CHAT}").json()["capabilities"]["operations"]
    told = {"messages.tool", "parallel_tool_calls", "response_format", "tool_choice", "tools"}
    assert told <= set(operations["createChatCompletion"])
    assert not told & set(operations["createCompletion"])
