"""Answers of a model with random weights, which says nothing sensible, held to what was asked for."""

import json

import jsonschema
import pytest

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "size": {"type": "integer", "minimum": 3, "maximum": 900},
        "kind": {"enum": ["fox", "dog"]},
        "tags": {"type": "array", "items": {"type": "boolean"}, "maxItems": 3},
    },
    "required": ["name", "size", "kind", "tags"],
    "additionalProperties": False,
}
CHAT = {"model": "tiny-llama", "messages": [{"role": "user", "content": "the quick"}], "max_tokens": 300}
TOOL = {"type": "function", "function": {"name": "describe", "parameters": SCHEMA}}


def answered(client, body):
    response = client.post("/v1/chat/completions", json=body)
    assert response.status_code == 200, response.text
    return response.json()["choices"]


@pytest.mark.parametrize("temperature", [0, 1])
def test_every_answer_is_what_the_schema_says(client, temperature):
    form = {"type": "json_schema", "json_schema": {"name": "thing", "schema": SCHEMA, "strict": True}}
    body = CHAT | {"response_format": form, "temperature": temperature, "n": 3, "seed": 1, "logprobs": True}
    for choice in answered(client, body):
        jsonschema.validate(json.loads(choice["message"]["content"]), SCHEMA)
        assert choice["finish_reason"] == "stop"


def test_a_call_that_is_asked_for_comes_with_arguments_of_its_schema(client):
    choice = {"type": "function", "function": {"name": "describe"}}
    for answer in answered(client, CHAT | {"tools": [TOOL], "tool_choice": choice, "n": 2, "seed": 2}):
        [call] = answer["message"]["tool_calls"]
        assert call["function"]["name"] == "describe"
        jsonschema.validate(json.loads(call["function"]["arguments"]), SCHEMA)


def test_answers_with_and_without_a_grammar_run_side_by_side(client, models):
    from concurrent.futures import ThreadPoolExecutor

    form = {"type": "json_object"}
    plain = CHAT | {"temperature": 0, "max_tokens": 20}
    alone = answered(client, plain)[0]["message"]["content"]
    with ThreadPoolExecutor(8) as pool:
        bound = [pool.submit(answered, client, CHAT | {"response_format": form, "seed": each}) for each in range(4)]
        free = [pool.submit(answered, client, plain) for _ in range(4)]
    assert {each.result()[0]["message"]["content"] for each in free} == {alone}
    for each in bound:
        [choice] = each.result()
        if choice["finish_reason"] == "stop":
            assert isinstance(json.loads(choice["message"]["content"]), dict)
