"""What stock clients send beside the letter of the API, and what becomes of it."""

import gzip
import json
import zlib

import pytest
from servers import CHAT

IGNORED = "x-specserve-ignored-parameters"
HI = {"role": "user", "content": "hi"}
CALL = {"id": "call_1", "type": "function", "function": {"name": "now", "arguments": "{}"}}


def ask(client, path="chat/completions", model="echo", **changes):
    body = {"model": model, **({"messages": [HI], "max_tokens": 3} if path == "chat/completions" else {}), **changes}
    return client.post(f"/v1/{path}", json=body)


@pytest.mark.parametrize(
    ("path", "changes"),
    [
        ("embeddings", {"input": "hi", "encoding_format": None}),
        ("embeddings", {"input": "hi", "dimensions": None, "user": None}),
        ("chat/completions", {"tools": None, "tool_choice": None, "functions": None, "parallel_tool_calls": None}),
        ("chat/completions", {"prompt": None, "response_format": None, "web_search_options": None}),
        ("chat/completions", {"messages": [{**HI, "name": None}]}),
        (
            "chat/completions",
            {
                "messages": [
                    {"role": "user", "content": [{"type": "text", "text": "hi", "prompt_cache_breakpoint": None}]}
                ]
            },
        ),
        ("chat/completions", {"stream": True, "stream_options": {"include_usage": None}}),
        (
            "chat/completions",
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": None}}},
        ),
        (
            "chat/completions",
            {"tools": [{"type": "function", "function": {"name": "f", "parameters": None, "description": None}}]},
        ),
        ("chat/completions", {"stop": [], "tools": [], "functions": [], "modalities": []}),
        ("chat/completions", {"messages": [HI, {"role": "assistant", "content": [], "tool_calls": []}, HI]}),
        ("completions", {"prompt": "hi", "stop": [], "logit_bias": {}, "user": None}),
    ],
    ids=str,
)
def test_null_and_empty_lists_say_that_nothing_is_given(echo, path, changes):
    answer = ask(echo, path, **changes)
    assert answer.status_code == 200, answer.text
    assert IGNORED not in answer.headers


def test_null_for_what_is_required_is_still_refused(echo):
    assert ask(echo, messages=None).json()["error"]["code"] == "missing_required_parameter"
    assert ask(echo, messages=[{"role": "user", "content": None}]).json()["error"]["param"] == "messages[0].content"
    assert ask(echo, "embeddings", input=None).status_code == 400


@pytest.mark.parametrize("stream", [False, True])
def test_unknown_keys_in_messages_are_dropped_and_named(echo, stream):
    answer = ask(
        echo,
        stream=stream,
        messages=[
            {**HI, "id": 7, "opts": {"visible": True}},
            {"role": "assistant", "content": "yo", "reasoning": "hm", "reasoning_details": []},
            {"role": "user", "content": [{"type": "text", "text": "ok", "cache_control": {"type": "ephemeral"}}]},
            {"role": "assistant", "tool_calls": [{**CALL, "index": 0}]},
            {"role": "tool", "tool_call_id": "call_1", "content": "4", "status": "done"},
        ],
    )
    assert answer.status_code == 200, answer.text
    assert answer.headers[IGNORED].split(", ") == [
        "messages[0].id",
        "messages[0].opts",
        "messages[1].reasoning",
        "messages[1].reasoning_details",
        "messages[2].content[0].cache_control",
        "messages[3].tool_calls[0].index",
        "messages[4].status",
    ]


def test_unknown_parameters_are_still_refused(echo):
    assert ask(echo, colour="red").json()["error"]["code"] == "unknown_parameter"
    assert ask(echo, tools=[{"type": "function", "function": {"name": "f", "colour": 1}}]).status_code == 400


def test_a_name_that_the_template_does_not_show_is_named_in_the_header(default):
    for message in (
        {**HI, "name": "joe"},
        {"role": "system", "content": "s", "name": "joe"},
    ):
        answer = ask(default, model=CHAT, messages=[message, HI])
        assert answer.status_code == 200, answer.text
        assert answer.headers[IGNORED] == "messages[0].name"
    answer = ask(default, model=CHAT, stream=True, messages=[HI, {**HI, "name": "joe"}])
    assert answer.status_code == 200, answer.text
    assert answer.headers[IGNORED] == "messages[1].name"


def test_a_tool_message_may_have_its_functions_name(default):
    call = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    result = {"role": "tool", "tool_call_id": "call_1", "name": "now", "content": "noon"}
    answer = ask(default, model=CHAT, messages=[HI, call, result])
    assert answer.status_code == 200, answer.text
    assert answer.headers[IGNORED] == "messages[2].name"


def test_a_hint_without_effect_is_named(echo):
    answer = ask(echo, user="u", metadata={"a": "b"}, prompt_cache_key="k")
    assert answer.status_code == 200
    assert sorted(answer.headers[IGNORED].split(", ")) == ["metadata", "prompt_cache_key", "user"]


def test_a_call_in_history_may_lack_its_arguments(echo, default):
    for function in ({"name": "now"}, {"name": "now", "arguments": None}):
        history = [
            HI,
            {"role": "assistant", "content": None, "tool_calls": [{**CALL, "function": function}]},
            {"role": "tool", "tool_call_id": "call_1", "content": "noon"},
        ]
        assert ask(echo, messages=history).status_code == 200
        assert ask(default, model=CHAT, messages=history).status_code == 200


BODY = json.dumps({"model": "echo", "max_tokens": 3, "messages": [HI]}).encode()


def send(client, content, **headers):
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post("/v1/chat/completions", content=content, headers={"content-type": "application/json", **headers})


@pytest.mark.parametrize(
    "packed",
    [gzip.compress(BODY), gzip.compress(BODY[:20]) + gzip.compress(BODY[20:]), gzip.compress(BODY + b" " * 5_000_000)],
    ids=["one member", "two members", "large"],
)
def test_gzip_is_unpacked(echo, packed):
    answer = send(echo, packed, content_encoding="gzip")
    assert answer.status_code == 200, answer.text
    assert answer.json()["choices"][0]["message"]["content"] == "hi"


@pytest.mark.parametrize(
    ("content", "encoding", "status"),
    [
        (gzip.compress(BODY)[:-9], "gzip", 400),
        (BODY, "gzip", 400),
        (gzip.compress(BODY) + b"garbage", "gzip", 400),
        (gzip.compress(b" " * 200_000_000, 9), "gzip", 413),
        (zlib.compress(BODY), "deflate", 415),
        (BODY, "br", 415),
        (BODY, "zstd", 415),
        (gzip.compress(gzip.compress(BODY)), "gzip, gzip", 415),
    ],
    ids=["cut", "plain", "garbage behind", "a bomb", "deflate", "br", "zstd", "twice"],
)
def test_what_cannot_be_unpacked_is_refused_and_says_so(echo, content, encoding, status):
    answer = send(echo, content, content_encoding=encoding)
    assert answer.status_code == status
    message = answer.json()["error"]["message"]
    assert ("gzip" in message) == (status != 413)


def test_a_body_that_says_it_is_not_packed_is_read_as_it_is(echo):
    assert send(echo, BODY, content_encoding="identity").status_code == 200


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json; charset=utf-8; profile=x",
        "application/json;profile=x;charset=UTF-8",
        'Application/JSON; charset="utf-8"',
        "application/json; profile=x",
        "application/json;",
    ],
)
def test_a_content_type_may_have_further_parameters(echo, content_type):
    answer = send(echo, BODY, content_type=content_type)
    assert answer.status_code == 200, answer.text
