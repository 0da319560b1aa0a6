"""Walks the table of parameters (docs/parameters.md): each has the fate that the table says, on real models."""

from pathlib import Path

import pytest
from servers import CHAT, EMBED

from specserve.made_docs.parameters import document
from specserve.spec.document import load, parameters

# A value that asks for an effect, for every parameter of the contract.
ASKING = {
    "createChatCompletion": {
        "model": None,
        "messages": [{"role": "user", "content": "Say hi"}],
        "prompt": "Say hi",
        "audio": {"voice": "alloy", "format": "wav"},
        "chat_template_kwargs": {"enable_thinking": False},
        "frequency_penalty": 0.5,
        "function_call": {"name": "f"},
        "functions": [{"name": "f"}],
        "ignore_eos": True,
        "logit_bias": {"5": -100},
        "logprobs": True,
        "max_completion_tokens": 3,
        "max_tokens": 3,
        "metadata": {"team": "blue"},
        "min_p": 0.1,
        "min_tokens": 2,
        "modalities": ["text", "audio"],
        "moderation": {"model": "omni-moderation-latest"},
        "n": 2,
        "parallel_tool_calls": None,
        "prediction": {"type": "content", "content": "hi"},
        "presence_penalty": 0.5,
        "prompt_cache_key": "a",
        "prompt_cache_options": {},
        "prompt_cache_retention": "in_memory",
        "reasoning_effort": "high",
        "repetition_penalty": 1.1,
        "response_format": {"type": "json_object"},
        "safety_identifier": "a",
        "seed": 1,
        "service_tier": "flex",
        "stop": ["."],
        "store": True,
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0.5,
        "tool_choice": "required",
        "tools": [{"type": "function", "function": {"name": "f"}}],
        "top_k": 5,
        "top_logprobs": 2,
        "top_p": 0.5,
        "user": "a",
        "verbosity": "high",
        "web_search_options": {},
    },
    "createCompletion": {
        "model": None,
        "prompt": "Say hi",
        "best_of": 1,
        "echo": True,
        "frequency_penalty": 0.5,
        "ignore_eos": True,
        "logit_bias": {"5": -100},
        "logprobs": 0,
        "max_tokens": 3,
        "min_p": 0.1,
        "min_tokens": 2,
        "n": 2,
        "presence_penalty": 0.5,
        "repetition_penalty": 1.1,
        "seed": 1,
        "stop": ["."],
        "stream": True,
        "stream_options": {"include_usage": True},
        "suffix": "the end",
        "temperature": 0.5,
        "top_k": 5,
        "top_p": 0.5,
        "user": "a",
    },
    "createEmbedding": {
        "model": None,
        "input": "hi",
        "dimensions": None,
        "encoding_format": "base64",
        "user": "a",
    },
}
# What a parameter needs beside it.
WITH = {
    "top_logprobs": {"logprobs": True},
    "stream_options": {"stream": True},
    "tool_choice": {"tools": [{"type": "function", "function": {"name": "f"}}]},
}
# The part of a parameter in effect that has none: the templates of these models do not read this value.
UNREAD = {"chat_template_kwargs": "chat_template_kwargs.enable_thinking"}
POLICY = {operation: parameters(load(), operation) for operation in ASKING}
PATHS = {
    "createChatCompletion": "/chat/completions",
    "createCompletion": "/completions",
    "createEmbedding": "/embeddings",
}
LEAST = {
    "createChatCompletion": {"messages": [{"role": "user", "content": "Say hi"}], "max_completion_tokens": 3},
    "createCompletion": {"prompt": "Say hi", "max_tokens": 3},
    "createEmbedding": {"input": "hi"},
}
CASES = [(operation, name) for operation, values in ASKING.items() for name in values]


def test_every_parameter_of_the_contract_is_walked_through():
    for operation, values in ASKING.items():
        assert set(values) == set(POLICY[operation])


def ask(client, operation, model, changes):
    body = {**LEAST[operation], "model": model, **changes}
    if "prompt" in changes:
        body.pop("messages", None)
    if operation == "createChatCompletion" and "max_tokens" in changes:
        body["max_completion_tokens"] = None if changes["max_tokens"] else 3
    elif "max_completion_tokens" in changes and not changes["max_completion_tokens"]:
        body["max_tokens"] = 3
    return client.post(f"/v1{PATHS[operation]}", json=body)


def supported(client, operation, model):
    return client.get(f"/v1/models/{model}").json()["capabilities"]["operations"].get(operation)


@pytest.mark.parametrize(("operation", "name"), CASES, ids=[f"{operation}-{name}" for operation, name in CASES])
@pytest.mark.parametrize(
    ("server", "models"), [("echo", ["echo"]), ("default", [CHAT, EMBED])], ids=["echo", "default"]
)
def test_a_parameter_has_the_fate_that_is_told(request, server, models, operation, name):
    client = request.getfixturevalue(server)
    policy = POLICY[operation][name]
    for model in models:
        takes_effect = supported(client, operation, model)
        if takes_effect is None:
            continue
        # A request needs one of these two.
        absent = [None] if policy.absent_null and name not in {"messages", "prompt"} else []
        for value in (*policy.off, *absent):
            assert ask(client, operation, model, {name: value}).status_code == 200, f"{name} off: {value}"
        value = ASKING[operation][name]
        if value is None:
            continue
        answer = ask(client, operation, model, {**WITH.get(name, {}), name: value})
        if name in takes_effect or policy.hint:
            assert answer.status_code == 200, answer.text
            without_effect = UNREAD.get(name) if name in takes_effect else name
            assert answer.headers.get("x-specserve-ignored-parameters") == without_effect
        else:
            assert answer.status_code == 400
            assert answer.json()["error"]["code"] == "unsupported_parameter"
            assert answer.json()["error"]["param"] == name


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}, ".content[0]"),
        (
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "x"},
                    {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}},
                ],
            },
            ".content[1]",
        ),
        ({"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}, ".content[0]"),
    ],
    ids=["image", "audio", "file"],
)
def test_what_a_text_model_cannot_read_is_refused_with_its_path(default, message, param):
    messages = [{"role": "system", "content": "x"}, message]
    answer = ask(default, "createChatCompletion", CHAT, {"messages": messages})
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "unsupported_parameter"
    assert answer.json()["error"]["param"] == f"messages[1]{param}"


def test_the_page_of_parameters_is_current(echo, default):
    told = {
        model["id"]: model["capabilities"]["operations"]
        for client in (default, echo)
        for model in client.get("/v1/models").json()["data"]
    }
    order = [CHAT, EMBED, "echo"]  # of the catalogue
    page = Path(__file__).parents[2] / "docs" / "parameters.md"
    assert document({name: told[name] for name in order}) == page.read_text()
