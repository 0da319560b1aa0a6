"""What must hold of swagger.yaml as it stands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema
import jsonschema_rs
import pytest

from specserve.spec.document import (
    Example,
    answer_component,
    examples,
    installed,
    load,
    operations,
    parameters,
    request_schema,
)
from specserve.spec.json_schema import to_json_schema
from specserve.spec.references import accepts_null, resolve

STATUSES = {"400", "401", "404", "405", "413", "415", "429", "500", "503"}
OF_A_GATEWAY = {"502", "504"}  # another server may run the model

DOCUMENT = load()
OPERATIONS = {operation.operation_id: operation for operation in operations(DOCUMENT)}
BODIES = tuple(key for key, operation in OPERATIONS.items() if operation.ability)
STREAMED = [key for key in OPERATIONS if answer_component(DOCUMENT, OPERATIONS[key], "text/event-stream")]
PUBLISHED = {operation.operation_id for operation in operations(installed("specserve.spec", "upstream.yaml"))}


@pytest.mark.parametrize("example", list(examples(DOCUMENT)), ids=str)
def test_each_example_validates_with_both_validators(example: Example) -> None:
    converted = to_json_schema(DOCUMENT, example.schema)
    jsonschema.Draft202012Validator(converted).validate(example.value)
    jsonschema_rs.Draft202012Validator(converted).validate(example.value)


@pytest.mark.parametrize("operation_id", [key for key, op in OPERATIONS.items() if "requestBody" in op.spec])
def test_each_request_body_has_an_example(operation_id: str) -> None:
    assert OPERATIONS[operation_id].spec["requestBody"]["content"]["application/json"]["examples"]


def test_examples_ask_for_few_tokens() -> None:
    for value in (example.value for example in examples(DOCUMENT)):
        if "messages" in value or "prompt" in value:
            assert value.get("max_completion_tokens", value.get("max_tokens")) <= 16


@pytest.mark.parametrize("operation_id", OPERATIONS)
def test_each_operation_documents_the_error_statuses(operation_id: str) -> None:
    responses = OPERATIONS[operation_id].spec["responses"]
    expected = STATUSES - {"401"} if OPERATIONS[operation_id].spec.get("security") == [] else STATUSES
    if operation_id in BODIES:
        expected = expected | OF_A_GATEWAY
    if operation_id in {"loadModel", "unloadModel"}:
        expected = expected | {"403"}
    assert set(responses) == expected | {"200"}
    for status in expected:
        response = resolve(DOCUMENT, responses[status])
        assert response["content"]["application/json"]["schema"]["$ref"].endswith("/ErrorResponse")


@pytest.mark.parametrize("operation_id", OPERATIONS)
def test_each_response_documents_its_headers(operation_id: str) -> None:
    for status, response in OPERATIONS[operation_id].spec["responses"].items():
        headers = resolve(DOCUMENT, response)["headers"]
        assert "x-request-id" in headers
        assert ("Retry-After" in headers) == (status in {"429", "503"})
        assert ("Allow" in headers) == (status == "405")


@pytest.mark.parametrize("operation_id", STREAMED)
def test_an_event_is_a_chunk_or_the_error_envelope(operation_id: str) -> None:
    content = OPERATIONS[operation_id].spec["responses"]["200"]["content"]
    assert len(content["text/event-stream"]["schema"]["anyOf"]) == 2
    assert "application/json" in content


def test_only_health_needs_no_key() -> None:
    open_to_all = [key for key, operation in OPERATIONS.items() if operation.spec.get("security") == []]
    assert open_to_all == ["getHealth"]
    assert DOCUMENT["security"] == [{"ApiKeyAuth": []}, {"BasicAuth": []}]


def test_extensions_are_marked() -> None:
    extensions = {key for key, operation in OPERATIONS.items() if operation.extension}
    assert extensions == OPERATIONS.keys() - PUBLISHED
    chat = {name for name, parameter in parameters(DOCUMENT, "createChatCompletion").items() if parameter.extension}
    sampling = {"ignore_eos", "min_p", "min_tokens", "repetition_penalty", "top_k"}
    assert chat == {*sampling, "chat_template_kwargs", "prompt"}
    completion = {name for name, parameter in parameters(DOCUMENT, "createCompletion").items() if parameter.extension}
    assert completion == sampling


@pytest.mark.parametrize("operation_id", BODIES)
def test_off_values_are_valid_values(operation_id: str) -> None:
    for parameter in parameters(DOCUMENT, operation_id).values():
        for one in (parameter, *parameter.nested.values()):
            validator = jsonschema_rs.Draft202012Validator(to_json_schema(DOCUMENT, one.schema))
            assert all(validator.is_valid(value) for value in one.off), one.name
            assert None not in one.off, "null is said once, by x-specserve-null"


@pytest.mark.parametrize("operation_id", BODIES)
def test_null_is_an_off_value_wherever_it_is_valid(operation_id: str) -> None:
    meaningful = {"prompt"} if operation_id == "createCompletion" else set()
    for name, parameter in parameters(DOCUMENT, operation_id).items():
        validator = jsonschema_rs.Draft202012Validator(to_json_schema(DOCUMENT, parameter.schema))
        if validator.is_valid(None) and name not in meaningful:
            assert parameter.is_off(None), name


@pytest.mark.parametrize("operation_id", BODIES)
def test_null_is_valid_for_whatever_a_request_does_not_require_at_any_depth(operation_id: str) -> None:
    for name, schema in reached(request_schema(DOCUMENT, operation_id)):
        for key in schema.get("properties", {}).keys() - set(schema.get("required", ())):
            assert accepts_null(DOCUMENT, schema["properties"][key]), f"{name}.{key}"


def test_requests_and_responses_share_no_object_so_that_what_is_said_of_one_holds_for_it_alone() -> None:
    bodies = [op.spec["requestBody"] for op in OPERATIONS.values() if "requestBody" in op.spec]
    answers = [resolve(DOCUMENT, answer) for op in OPERATIONS.values() for answer in op.spec["responses"].values()]
    asked, answered = (
        {name for body in sides for media in body["content"].values() for name, _ in reached(media["schema"]) if name}
        for sides in (bodies, answers)
    )
    assert {name for name in asked & answered if "properties" in DOCUMENT["components"]["schemas"][name]} == set()


def reached(schema: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """A schema and all that it is made of, each with the component's name, or an empty one."""
    pending, seen = [schema], set()
    while pending:
        node = pending.pop()
        name = node.get("$ref", "").rpartition("/")[2]
        whole = resolve(DOCUMENT, node)
        if id(whole) in seen:
            continue
        seen.add(id(whole))
        yield name, whole
        pending += [branch for key in ("allOf", "oneOf", "anyOf") for branch in whole.get(key, ())]
        pending += [*whole.get("properties", {}).values()]
        pending += [whole[key] for key in ("items", "additionalProperties") if isinstance(whole.get(key), dict)]


@pytest.mark.parametrize("operation_id", BODIES)
def test_a_hint_has_no_off_values_and_a_default_is_one(operation_id: str) -> None:
    effective = {"temperature", "max_tokens", "encoding_format"}  # their defaults do something
    for name, parameter in parameters(DOCUMENT, operation_id).items():
        assert not (parameter.hint and parameter.off), name
        if "default" in parameter.schema and name not in effective:
            assert parameter.is_off(parameter.schema["default"]), name


def test_off_values_are_compared_as_json() -> None:
    chat = parameters(DOCUMENT, "createChatCompletion")
    assert chat["n"].is_off(1.0)
    assert not chat["n"].is_off(True)
    assert not chat["logprobs"].is_off(0)
    assert chat["response_format"].is_off({"type": "text"})
    assert not chat["response_format"].is_off({"type": "json_object"})
    assert chat["modalities"].is_off(["text"])
    assert not chat["modalities"].is_off(["text", "audio"])
    assert not parameters(DOCUMENT, "createCompletion")["logprobs"].is_off(0)


def test_nested_policy_is_found() -> None:
    nested = parameters(DOCUMENT, "createChatCompletion")["stream_options"].nested
    assert nested["include_obfuscation"].is_off(False)
    assert not nested["include_obfuscation"].is_off(True)


def test_an_unknown_operation_has_no_parameters() -> None:
    with pytest.raises(KeyError, match="createUnicorn"):
        parameters(DOCUMENT, "createUnicorn")


@pytest.mark.parametrize("operation_id", BODIES)
def test_unknown_parameters_are_refused(operation_id: str) -> None:
    assert request_schema(DOCUMENT, operation_id)["additionalProperties"] is False


@pytest.mark.parametrize("operation_id", BODIES)
def test_the_server_itself_gives_effect_to_model_and_stream(operation_id: str) -> None:
    handled = {name for name, parameter in parameters(DOCUMENT, operation_id).items() if parameter.handled}
    assert handled == ({"model", "stream", "stream_options"} if operation_id in STREAMED else {"model"})


def test_no_python_path_stands_in_the_contract() -> None:
    text = str(DOCUMENT)
    assert "x-openapi-router-controller" not in text
    assert "specserve.handlers" not in text


def test_every_schema_and_property_is_described() -> None:
    for name, schema in DOCUMENT["components"]["schemas"].items():
        assert schema.get("description"), name
        for key, node in schema.get("properties", {}).items():
            assert "$ref" in node or node.get("description") or "allOf" in node, f"{name}.{key}"
