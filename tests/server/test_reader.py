"""The reader of request bodies agrees with the contract, as two validators read it, on made-up bodies."""

from __future__ import annotations

import copy
import json
import random

import jsonschema
import pytest
from jsonschema_rs import Draft202012Validator

from specserve.http.ignored import Ignored
from specserve.http.reader import Reading
from specserve.http.reader_compiler import compile_reader
from specserve.spec.document import load, request_schema
from specserve.spec.errors import InvalidRequest
from specserve.spec.json_schema import to_json_schema

DOCUMENT = load()
CHAT = {
    "model": "m",
    "messages": [
        {"role": "system", "content": "s", "name": "n"},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "u"}}]},
        {
            "role": "assistant",
            "content": None,
            "refusal": None,
            "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
            "annotations": [{"type": "url_citation", "url_citation": {"url": "u"}}],
        },
        {"role": "tool", "tool_call_id": "1", "content": "4"},
    ],
    "audio": {"voice": "alloy", "format": "wav"},
    "logit_bias": {"1": 5},
    "metadata": {"a": "b"},
    "n": 1,
    "prediction": {"type": "content", "content": [{"type": "text", "text": "a"}]},
    "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}},
    "stop": ["a", "b"],
    "stream": True,
    "stream_options": {"include_usage": True},
    "temperature": 0.5,
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {"properties": {"a": None}}}}],
    "tool_choice": {"type": "function", "function": {"name": "f"}},
    "web_search_options": {"user_location": {"type": "approximate", "approximate": {"city": "c"}}},
}
BODIES = {
    "createChatCompletion": [CHAT, {"model": "m", "prompt": "x"}],
    "createCompletion": [
        {"model": "m", "prompt": prompt, "stop": "a", "logit_bias": {}} for prompt in ("a", ["a"], [1, 2], [[1], [2]])
    ],
    "createEmbedding": [
        {"model": "m", "input": value, "encoding_format": "float"} for value in ("a", ["a"], [1], [[1]])
    ],
}
STRANGE = [
    None,
    [],
    {},
    "",
    "x",
    0,
    -1,
    1.0,
    1.5,
    1e300,
    True,
    [[]],
    [None],
    ["x"],
    [1],
    {"type": "x"},
    {"name": None},
    2**70,
]


def places(value, path=()):
    yield path
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(inner, (*path, key))


def changed(body, dice):
    """A body in which one or two things are put in, taken away or made into something else."""
    body = copy.deepcopy(body)
    for _ in range(dice.choice((1, 1, 2))):
        path = dice.choice([path for path in places(body) if path])
        holder = body
        for key in path[:-1]:
            holder = holder[key]
        match dice.choice(("strange", "strange", "gone", "unknown", "twice")):
            case "gone":
                del holder[path[-1]]
            case "unknown" if isinstance(holder, dict):
                holder[dice.choice(("colour", "name", "arguments", "messages", "tools"))] = copy.deepcopy(
                    dice.choice(STRANGE)
                )
            case "twice" if isinstance(holder, list):
                holder.append(copy.deepcopy(holder[0]))
            case _:
                holder[path[-1]] = copy.deepcopy(dice.choice(STRANGE))
    return body


@pytest.mark.parametrize("operation", BODIES)
def test_the_reader_takes_what_the_contract_takes_and_leaves_it_settled(operation):
    schema = request_schema(DOCUMENT, operation)
    reader = compile_reader(DOCUMENT, schema)
    contract = Draft202012Validator(to_json_schema(DOCUMENT, schema))
    another = jsonschema.Draft202012Validator(to_json_schema(DOCUMENT, schema))
    settled = Draft202012Validator(to_json_schema(DOCUMENT, schema, settled=True))
    dice = random.Random(20261127)
    taken = refused = 0
    for number in range(3000):
        body = changed(dice.choice(BODIES[operation]), dice)
        told = json.dumps(body)
        valid, was_settled = contract.is_valid(body), settled.is_valid(body)
        assert not was_settled or valid, told
        if number % 10 == 0:
            assert another.is_valid(body) == valid, told
        try:
            read = reader.read(copy.deepcopy(body), Reading(Ignored()))
        except InvalidRequest as error:
            assert not valid, f"{told}: {error.message}"
            assert error.message
            refused += 1
        else:
            assert valid, told
            assert settled.is_valid(read), told
            assert not was_settled or read == body, told
            taken += 1
    assert min(taken, refused) > 300


def read(body, operation="createChatCompletion", *, drop_unknown=False):
    ignored = Ignored()
    reader = compile_reader(DOCUMENT, request_schema(DOCUMENT, operation))
    return reader.read(copy.deepcopy(body), Reading(ignored, drop_unknown)), str(ignored)


def test_null_and_empty_lists_are_taken_away_where_they_say_nothing():
    body, ignored = read(
        {
            "model": "m",
            "messages": [{"role": "user", "content": "a", "name": None}, {"role": "assistant", "content": None}],
            "temperature": None,
            "tools": None,
            "functions": [],
            "stop": [],
            "prompt": None,
            "stream_options": {"include_usage": None},
            "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": None, "strict": None}},
        }
    )
    assert body == {
        "model": "m",
        "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": None}],
        "stream_options": {},
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "strict": None}},
    }
    assert ignored == ""


def test_the_prompt_of_a_completion_keeps_its_null_which_means_something():
    body, _ = read({"model": "m", "prompt": None}, "createCompletion")
    assert body == {"model": "m", "prompt": None}


def test_keys_of_a_json_schema_are_the_clients_own():
    tool = {"type": "function", "function": {"name": "f", "parameters": {"colour": None, "default": []}}}
    body, ignored = read({"model": "m", "prompt": "x", "tools": [tool]})
    assert body["tools"] == [tool]
    assert ignored == ""


def test_a_call_in_history_gets_the_arguments_that_it_lacks():
    for function in ({"name": "f"}, {"name": "f", "arguments": None}):
        call = {"id": "1", "type": "function", "function": dict(function)}
        message = {"role": "assistant", "tool_calls": [call], "function_call": dict(function)}
        body, _ = read({"model": "m", "messages": [message]})
        assert body["messages"][0]["tool_calls"][0]["function"]["arguments"] == "{}"
        assert body["messages"][0]["function_call"]["arguments"] == "{}"


def test_whole_numbers_are_whole_in_lists_too():
    body, _ = read({"model": "m", "input": [1.0, 2]}, "createEmbedding")
    assert [type(token) for token in body["input"]] == [int, int]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([[]], "Invalid value for 'input[0]': it must have 1 or more items."),
        ([-1], "Invalid value for 'input[0]': it must be at least 0."),
        ([1.5], "Invalid type for 'input[0]': expected integer."),
        ([1, "a"], "Invalid type for 'input[1]': expected integer."),
        (["a", 1], "Invalid type for 'input[1]': expected string."),
        ([[1], ["a"]], "Invalid type for 'input[1][0]': expected integer."),
        ([{}], "Invalid type for 'input[0]': expected array or integer or string."),
        ([], "Invalid value for 'input': it must have 1 or more items."),
        ({}, "Invalid type for 'input': expected array or string."),
        (["a"] * 5000, "Invalid value for 'input': it must have 2048 or fewer items."),
    ],
    ids=str,
)
def test_a_wrong_list_is_explained_by_what_its_first_item_is(value, message):
    with pytest.raises(InvalidRequest) as refusal:
        read({"model": "m", "input": value}, "createEmbedding")
    assert refusal.value.message == message


def test_an_unknown_name_explains_other_faults_so_it_speaks_first():
    with pytest.raises(InvalidRequest, match=r"Unknown parameter: 'temprature'\."):
        read({"model": "m", "messages": [], "temprature": 1})


def test_the_first_fault_of_many_is_the_one_that_is_told():
    messages = [{"role": "user", "content": "a"}] * 9000 + [{"role": "user"}, {"role": "robot"}]
    with pytest.raises(InvalidRequest) as refusal:
        read({"model": "m", "messages": messages})
    assert refusal.value.param == "messages[9000].content"


def test_with_drop_unknown_every_object_of_the_contract_is_open():
    body, ignored = read({"model": "m", "prompt": "x", "colour": 1, "stream_options": {"speed": 3}}, drop_unknown=True)
    assert body == {"model": "m", "prompt": "x", "stream_options": {}}
    assert ignored == "colour, stream_options.speed"


def test_many_ignored_names_are_counted_not_kept():
    ignored = Ignored()
    for at in range(100_000):
        ignored.add(f"messages[{at}].id")
    assert len(str(ignored)) < 1100
    assert str(ignored).startswith("messages[0].id, messages[1].id, ")
    named = str(ignored).count("].id")
    assert str(ignored).endswith(f", and {100_000 - named} more")


def test_a_long_name_is_cut():
    ignored = Ignored()
    ignored.add("x" * 5000)
    ignored.add("\r\nevil: 1, ключ")
    assert len(str(ignored)) < 1100
    assert "\r" not in str(ignored)
