"""The generated models, and the official client's types, on what the contract shows as examples."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from array import array
from base64 import b64decode

import pytest
from openai.types import Completion, CreateEmbeddingResponse, Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import BaseModel

from specserve.generated import models
from specserve.spec.document import Example, examples, load

DOCUMENT = load()
OFFICIAL: dict[str, type[BaseModel]] = {
    "CreateChatCompletionResponse": ChatCompletion,
    "CreateChatCompletionStreamResponse": ChatCompletionChunk,
    "CreateCompletionResponse": Completion,
    "CreateEmbeddingResponse": CreateEmbeddingResponse,
    "Model": Model,
}
CUSTOM_CALL = {"id": "1", "type": "custom", "custom": {"name": "a", "input": "b"}}


def component(example: Example) -> str:
    alternatives = example.schema.get("anyOf", [example.schema])
    schema = alternatives[-1] if "error" in example.value else alternatives[0]
    return str(schema["$ref"]).rpartition("/")[2]


@pytest.mark.parametrize("example", list(examples(DOCUMENT)), ids=str)
def test_a_generated_model_takes_the_example_and_gives_it_back(example: Example) -> None:
    parsed = getattr(models, component(example)).model_validate(example.value)
    assert json.loads(parsed.model_dump_json(exclude_unset=True, by_alias=True)) == example.value


@pytest.mark.parametrize("example", [e for e in examples(DOCUMENT) if component(e) in OFFICIAL], ids=str)
def test_the_official_client_takes_the_response_example(example: Example) -> None:
    value = copy.deepcopy(example.value)
    if component(example) == "CreateCompletionResponse" and example.media_type == "text/event-stream":
        value["choices"] = []  # the client takes a part without finish_reason, but its type has no null
    for item in value.get("data", ()):
        if isinstance(item["embedding"], str):  # the client decodes it before it makes an object of it
            item["embedding"] = list(array("f", b64decode(item["embedding"])))
            assert item["embedding"] == [0.5, -0.5, 0.25]
    OFFICIAL[component(example)].model_validate(value)


def test_one_class_is_generated_for_each_object() -> None:
    for name, schema in DOCUMENT["components"]["schemas"].items():
        if "properties" in schema:
            assert issubclass(getattr(models, name), BaseModel), name


def test_no_class_has_a_number_for_a_name() -> None:
    numbered = [name for name, value in vars(models).items() if isinstance(value, type) and name[-1].isdigit()]
    assert numbered == []


def test_unions_hold_plain_values() -> None:
    request = models.CreateCompletionRequest.model_validate({"model": "m", "prompt": [[1, 2]], "stop": "a"})
    assert request.prompt == [[1, 2]]
    assert request.stop == "a"
    embedding = models.CreateEmbeddingRequest.model_validate({"model": "m", "input": ["1", "2"]})
    assert embedding.input == ["1", "2"]


def test_messages_are_told_apart_by_their_role() -> None:
    request = models.CreateChatCompletionRequest.model_validate(
        {
            "model": "m",
            "messages": [
                {"role": "developer", "content": "a"},
                {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,"}}]},
                {
                    "role": "assistant",
                    "tool_calls": [{"id": "1", "type": "custom", "custom": {"name": "a", "input": "b"}}],
                },
                {"role": "tool", "content": "a", "tool_call_id": "1"},
            ],
        }
    )
    assert [type(message).__name__ for message in request.messages or []] == [
        "ChatCompletionRequestDeveloperMessage",
        "ChatCompletionRequestUserMessage",
        "ChatCompletionRequestAssistantMessage",
        "ChatCompletionRequestToolMessage",
    ]


def test_the_models_can_be_imported_and_read_without_a_warning() -> None:
    code = (
        "from specserve.generated.models import CreateChatCompletionRequest as R\n"
        "r = R.model_validate({'model': 'm', 'prompt': 'a', 'max_tokens': 1})\n"
        "[getattr(r, name) for name in R.model_fields]"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
