"""Answers of a model with random weights, which says nothing sensible, held to what was asked for."""

import json
import random
from concurrent.futures import ThreadPoolExecutor

import jsonschema
import openai
import pytest
from bound_answers import AMBIGUOUS, HOSTILE, PARAMETERS, SCHEMAS, TOOLS, asked, function, named, streamed
from hypothesis import given, settings
from lives import until
from made_up_schemas import schemas

FORM = {"type": "json_object"}


@pytest.fixture(scope="module", params=["tiny-llama", "single-llama"])
def model(request, server):
    """An official client, and the model to ask: with the paged cache, and with one for each request."""
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="-", max_retries=0) as official:
        yield official, request.param


def form(schema):
    return {"type": "json_schema", "json_schema": {"name": "it", "strict": True, "schema": schema}}


@pytest.mark.parametrize("at", range(len(SCHEMAS)))
def test_an_answer_conforms_to_its_schema(model, at):
    parameters = {"response_format": form(SCHEMAS[at]), "seed": at, "max_completion_tokens": 300}
    choice = asked(model, **parameters).choices[0]
    assert choice.finish_reason == "stop"
    jsonschema.validate(json.loads(choice.message.content), SCHEMAS[at])
    assert streamed(model, **parameters) == (choice.message.content, [], "stop")


def test_made_up_schemas_are_enforced_or_refused(client):
    reasons = []

    @settings(max_examples=60, deadline=None, derandomize=True, database=None)
    @given(schemas())
    def enforced_or_refused(schema):
        body = {"model": "tiny-llama", "messages": HOSTILE, "response_format": form(schema), "max_tokens": 200}
        answer = client.post("/v1/chat/completions", json=body | {"seed": 1})
        if answer.status_code == 400:
            assert answer.json()["error"]["param"].startswith("response_format.json_schema.schema")
            reasons.append("refused")
            return
        assert answer.status_code == 200, answer.text
        choice = answer.json()["choices"][0]
        reasons.append(choice["finish_reason"])
        if choice["finish_reason"] == "stop":
            jsonschema.Draft202012Validator(schema).validate(json.loads(choice["message"]["content"]))

    enforced_or_refused()
    assert reasons.count("stop") > len(reasons) / 3, reasons


def test_json_object_is_an_object_however_many_are_asked_for(model):
    for choice in asked(model, response_format=FORM, n=3, seed=5, logprobs=True, top_p=0.9).choices:
        assert choice.message.content.startswith("{")
        assert choice.finish_reason == "length" or isinstance(json.loads(choice.message.content), dict)
        assert choice.logprobs.content


def test_greedy_answers_with_penalties_and_biases_conform_too(model):
    schema = {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 99}, "minItems": 8, "maxItems": 8}
    more = {"temperature": 0, "frequency_penalty": 2, "logit_bias": {str(token): -100 for token in range(7, 60)}}
    choice = asked(model, response_format=form(schema), **more).choices[0]
    jsonschema.validate(json.loads(choice.message.content), schema)


def test_log_probabilities_are_the_models_own_beside_a_grammar(model):
    """They are of the distribution before the grammar, so what was drawn is seldom the likeliest."""
    choice = asked(model, response_format=form(SCHEMAS[0]), logprobs=True, top_logprobs=20, seed=1).choices[0]
    values = [(token.logprob, token.top_logprobs[0].logprob) for token in choice.logprobs.content]
    assert all(own <= best for own, best in values)
    assert any(own < best for own, best in values)


@pytest.mark.parametrize("seed", range(6))
def test_a_forced_call_fits_its_tool(model, seed):
    tools = random.Random(seed).sample(TOOLS, 3)
    name = tools[0]["function"]["name"]
    parameters = {"tools": tools, "tool_choice": named(name) if seed % 2 else "required", "seed": seed}
    answer = asked(model, **parameters, max_completion_tokens=200).choices[0]
    assert answer.message.content is None
    assert answer.finish_reason == ("stop" if seed % 2 else "tool_calls")
    [call] = answer.message.tool_calls
    jsonschema.validate(json.loads(call.function.arguments), PARAMETERS[call.function.name])
    assert call.function.name in ([name] if seed % 2 else [tool["function"]["name"] for tool in tools])
    content, parts, reason = streamed(model, **parameters, max_completion_tokens=200)
    assert (content, reason) == ("", answer.finish_reason)
    assert [part[1:] for part in parts] == [(call.function.name, call.function.arguments)]


@pytest.mark.parametrize("choice", ["auto", "none"])
def test_a_model_that_need_not_call_answers(model, choice):
    answer = asked(model, tools=TOOLS, tool_choice=choice, temperature=0, max_completion_tokens=20).choices[0]
    assert answer.message.content
    assert not answer.message.tool_calls


@pytest.mark.parametrize("at", range(len(AMBIGUOUS)))
def test_a_schema_that_can_be_read_in_many_ways_does_not_hold_the_engine_up(model, at):
    choice = asked(model, response_format=form(AMBIGUOUS[at]), seed=at).choices[0]
    if choice.finish_reason == "stop":
        jsonschema.validate(json.loads(choice.message.content), AMBIGUOUS[at])


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        (
            {"tools": [function("f", a={"not": {}})], "tool_choice": "required"},
            "tools[0].function.parameters.properties.a.not",
        ),
        ({"response_format": form({"type": "banana"})}, "response_format.json_schema.schema.type"),
        ({"response_format": form({"if": {}})}, "response_format.json_schema.schema.if"),
        ({"response_format": FORM, "ignore_eos": True}, "ignore_eos"),
        ({"response_format": FORM, "min_tokens": 5}, "min_tokens"),
    ],
)
def test_what_cannot_be_held_to_is_refused_by_name(client, changes, param):
    answer = client.post("/v1/chat/completions", json={"model": "tiny-llama", "messages": HOSTILE, **changes})
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == param


def test_answers_with_and_without_a_grammar_run_side_by_side(model):
    plain = {"temperature": 0, "max_completion_tokens": 20}
    alone = asked(model, **plain).choices[0].message.content
    with ThreadPoolExecutor(8) as pool:
        bound = [pool.submit(asked, model, response_format=FORM, seed=each) for each in range(4)]
        free = [pool.submit(asked, model, **plain) for _ in range(4)]
    assert {each.result().choices[0].message.content for each in free} == {alone}
    for each in bound:
        [choice] = each.result().choices
        if choice.finish_reason == "stop":
            assert isinstance(json.loads(choice.message.content), dict)


def test_who_leaves_while_a_grammar_is_compiled_leaves_nothing_behind(server, client):
    """A schema that is new each time, so that each has to be compiled, and one that goes on."""
    body = {"model": "tiny-llama", "messages": HOSTILE, "stream": True, "max_tokens": 300}
    for turn in range(8):
        words = {"enum": [f"{turn} {word}" for word in range(900)]}
        with client.stream("POST", "/v1/chat/completions", json=body | {"response_format": form(words)}):
            pass
    last = client.post("/v1/chat/completions", json=body | {"stream": False, "response_format": form(SCHEMAS[0])})
    jsonschema.validate(json.loads(last.json()["choices"][0]["message"]["content"]), SCHEMAS[0])
    assert until(lambda: not server.health()["num_requests_running"])
