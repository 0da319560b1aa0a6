"""OpenAPI 3.0 schemas as JSON Schema, judged by the two validators that others use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jsonschema
import jsonschema_rs
import pytest

from specserve.spec.document import load
from specserve.spec.json_schema import to_json_schema

DOCUMENT = load()
QUESTION = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}
CHUNK = {
    "id": "chatcmpl-1",
    "object": "chat.completion.chunk",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "delta": {}, "finish_reason": None, "logprobs": None}],
    "usage": None,
}


def valid_python(schema: dict[str, Any], value: Any) -> bool:
    return jsonschema.Draft202012Validator(schema).is_valid(value)


def valid_rust(schema: dict[str, Any], value: Any) -> bool:
    return jsonschema_rs.Draft202012Validator(schema).is_valid(value)


Judge = Callable[[dict[str, Any], Any], bool]
both = pytest.mark.parametrize("judge", [valid_python, valid_rust])


def component(name: str) -> dict[str, Any]:
    return to_json_schema(DOCUMENT, f"#/components/schemas/{name}")


@pytest.mark.parametrize("name", DOCUMENT["components"]["schemas"])
def test_each_component_becomes_a_valid_schema(name: str) -> None:
    converted = component(name)
    jsonschema.Draft202012Validator.check_schema(converted)
    jsonschema_rs.Draft202012Validator(converted)
    assert "nullable" not in str(converted)
    assert "#/components/" not in str(converted)


@both
def test_nulls_of_a_chunk_validate(judge: Judge) -> None:
    assert judge(component("CreateChatCompletionStreamResponse"), CHUNK)


@both
@pytest.mark.parametrize("key", ["finish_reason", "index"])
def test_a_chunk_still_needs_what_it_needs(judge: Judge, key: str) -> None:
    choice = {k: v for k, v in CHUNK["choices"][0].items() if k != key}
    assert not judge(component("CreateChatCompletionStreamResponse"), {**CHUNK, "choices": [choice]})


@both
@pytest.mark.parametrize(
    "name",
    [
        "stop",
        "metadata",
        "logit_bias",
        "service_tier",
        "stream_options",
        "audio",
        "n",
        "user",
        "tools",
        "response_format",
    ],
)
def test_null_is_valid_for_what_a_request_does_not_require(judge: Judge, name: str) -> None:
    assert judge(component("CreateChatCompletionRequest"), {**QUESTION, name: None})


@both
@pytest.mark.parametrize("name", ["messages", "model"])
def test_null_is_invalid_for_what_it_does(judge: Judge, name: str) -> None:
    assert not judge(component("CreateChatCompletionRequest"), {**QUESTION, name: None})


@both
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", 2.1),
        ("top_p", -0.1),
        ("n", 0),
        ("n", 129),
        ("top_logprobs", 21),
        ("stop", ["a", "b", "c", "d", "e"]),
        ("presence_penalty", 3),
        ("reasoning_effort", "huge"),
        ("repetition_penalty", 0),
        ("top_k", -2),
        ("logit_bias", {"1": 101}),
        ("metadata", {str(i): "" for i in range(17)}),
        ("seed", 2**63),
        ("max_tokens", 0),
        ("stream_options", {"unknown": True}),
        ("unknown", 1),
    ],
)
def test_limits_hold(judge: Judge, name: str, value: Any) -> None:
    assert not judge(component("CreateChatCompletionRequest"), {**QUESTION, name: value})


@both
def test_exactly_one_of_messages_and_prompt(judge: Judge) -> None:
    schema = component("CreateChatCompletionRequest")
    assert judge(schema, QUESTION)
    assert judge(schema, {"model": "m", "prompt": "Hello"})
    assert not judge(schema, {"model": "m"})
    assert not judge(schema, {**QUESTION, "prompt": "Hello"})


@both
@pytest.mark.parametrize("value", ["a", ["a", "b"], [1, 2], [[1], [2, 3]], None])
def test_each_form_of_a_prompt(judge: Judge, value: Any) -> None:
    assert judge(component("CreateCompletionRequest"), {"model": "m", "prompt": value})


@both
@pytest.mark.parametrize("value", [[], [[]], [1, "a"], [-1], [[-1]], [1e300], 1, {}])
def test_what_is_no_prompt(judge: Judge, value: Any) -> None:
    assert not judge(component("CreateCompletionRequest"), {"model": "m", "prompt": value})


@both
@pytest.mark.parametrize("value", ["", [], [""], ["a"] * 2049, None, [1e300]])
def test_what_cannot_be_embedded(judge: Judge, value: Any) -> None:
    assert not judge(component("CreateEmbeddingRequest"), {"model": "m", "input": value})


@both
def test_an_answer_can_be_sent_back_as_it_is(judge: Judge) -> None:
    answer = {
        "role": "assistant",
        "content": None,
        "refusal": None,
        "annotations": [],
        "audio": None,
        "function_call": None,
        "tool_calls": None,
        "reasoning_content": "Let me think.",
    }
    assert judge(component("ChatCompletionRequestAssistantMessage"), answer)
    assert judge(component("ChatCompletionRequestAssistantMessage"), {**answer, "mood": "good"})


@both
@pytest.mark.parametrize(
    "changes",
    [
        {"mood": "good"},
        {"name": None},
        {"tool_calls": []},
        {"content": []},
        {"tool_calls": [{"id": "1", "type": "function", "function": {"name": "f"}}]},
    ],
    ids=str,
)
def test_settled_is_only_the_form_in_which_a_request_is_handed_on(judge: Judge, changes: dict[str, Any]) -> None:
    name = "#/components/schemas/ChatCompletionRequestAssistantMessage"
    message = {"role": "assistant", "content": None, "refusal": None}
    settled = to_json_schema(DOCUMENT, name, settled=True)
    assert judge(settled, message)
    assert judge(component("ChatCompletionRequestAssistantMessage"), {**message, **changes})
    assert not judge(settled, {**message, **changes})


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "string", "nullable": True}, {"type": ["string", "null"]}),
        ({"type": "string", "nullable": True, "enum": ["a"]}, {"type": ["string", "null"], "enum": ["a", None]}),
        ({"type": "string", "enum": ["a", None], "nullable": True}, {"type": ["string", "null"], "enum": ["a", None]}),
        (
            {"oneOf": [{"type": "string"}, {"type": "integer"}], "nullable": True},
            {"oneOf": [{"type": "string"}, {"type": "integer"}, {"type": "null"}]},
        ),
        (
            {"oneOf": [{"type": "string", "nullable": True}, {"type": "integer"}], "nullable": True},
            {"oneOf": [{"type": ["string", "null"]}, {"type": "integer"}]},
        ),
        (
            {"oneOf": [{"type": kind, "nullable": True} for kind in ("string", "integer")], "nullable": True},
            {"anyOf": [{"oneOf": [{"type": ["string", "null"]}, {"type": ["integer", "null"]}]}, {"type": "null"}]},
        ),
        ({"nullable": True}, {}),
        ({"type": "number", "minimum": 0, "exclusiveMinimum": True}, {"type": "number", "exclusiveMinimum": 0}),
        ({"type": "number", "maximum": 1, "exclusiveMaximum": False}, {"type": "number", "maximum": 1}),
        ({"not": {"not": {"type": "string"}}}, {"type": "string"}),
        ({"type": "string", "example": "a", "x-vendor": 1}, {"type": "string"}),
        (
            {
                "type": "object",
                "properties": {"example": {"type": "string"}, "x-a": {"nullable": True, "type": "string"}},
            },
            {"type": "object", "properties": {"example": {"type": "string"}, "x-a": {"type": ["string", "null"]}}},
        ),
    ],
)
def test_keywords_are_translated(schema: dict[str, Any], expected: dict[str, Any]) -> None:
    converted = to_json_schema({}, schema)
    assert converted.pop("$schema")
    assert converted == expected


def test_a_nullable_reference_is_a_union_with_null() -> None:
    document = {"components": {"schemas": {"A": {"type": "object"}}}}
    converted = to_json_schema(
        document, {"allOf": [{"$ref": "#/components/schemas/A"}], "nullable": True, "description": "An A."}
    )
    assert converted["anyOf"] == [{"$ref": "#/$defs/A"}, {"type": "null"}]
    assert converted["description"] == "An A."
    assert converted["$defs"] == {"A": {"type": "object"}}


def test_recursive_components_are_converted_once() -> None:
    tree = {"type": "object", "properties": {"child": {"$ref": "#/components/schemas/Tree"}}}
    converted = to_json_schema({"components": {"schemas": {"Tree": tree}}}, "#/components/schemas/Tree")
    assert converted["$ref"] == "#/$defs/Tree"
    assert valid_rust(converted, {"child": {"child": {}}})
    assert not valid_rust(converted, {"child": 1})


def test_a_reference_out_of_the_components_is_an_error() -> None:
    with pytest.raises(ValueError, match="only components"):
        to_json_schema({}, {"$ref": "other.yaml#/A"})
