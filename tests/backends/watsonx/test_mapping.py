"""What becomes of a request and of an answer, where IBM's API and OpenAI's differ."""

import pytest
from watsonx_cloud import CHAT, EMBED, LANGUAGE, VISION
from watsonx_cloud.app import Fault
from watsonx_models import ask, chat, complete, embed

from specserve.backends.http.sse import Events
from specserve.backends.watsonx.chat import chat_body
from specserve.backends.watsonx.completions import generation_body
from specserve.backends.watsonx.logprobs import completion_logprobs
from specserve.spec.errors import ContextLengthExceeded, InvalidRequest, UnsupportedParameter, UnsupportedValue

HI = [{"role": "user", "content": "Hi"}]
TOOL = {"type": "function", "function": {"name": "f"}}
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def test_a_prompt_is_a_user_message():
    assert chat_body({"prompt": "Hi"})["messages"] == HI


@pytest.mark.parametrize(
    ("asked", "limit"),
    [
        ({}, 0),
        ({"max_tokens": 5}, 5),
        ({"max_completion_tokens": 6}, 6),
        ({"max_tokens": 5, "max_completion_tokens": 5}, 5),
    ],
)
def test_the_limit_has_one_name(asked, limit):
    body = chat_body({"messages": HI} | asked)
    assert body["max_completion_tokens"] == limit
    assert "max_tokens" not in body


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"role": "assistant"}, {"role": "assistant", "content": ""}),
        ({"role": "assistant", "content": None, "tool_calls": [CALL]}, {"role": "assistant", "tool_calls": [CALL]}),
        (
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}], "refusal": "No.", "name": "a"},
            {"role": "assistant", "content": "No.", "refusal": "No.", "name": "a"},
        ),
        (
            {"role": "assistant", "content": "Hi", "reasoning_content": "Hm.", "annotations": [], "audio": None},
            {"role": "assistant", "content": "Hi"},
        ),
        ({"role": "developer", "content": "Be brief."}, {"role": "system", "content": "Be brief."}),
        (
            {"role": "tool", "tool_call_id": "c", "content": [{"type": "text", "text": "1"}]},
            {"role": "tool", "tool_call_id": "c", "content": "1"},
        ),
        (
            {
                "role": "user",
                "content": [{"type": "text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit"}}],
            },
            {"role": "user", "content": [{"type": "text", "text": "a"}]},
        ),
    ],
)
def test_messages_have_the_form_that_ibm_documents(message, expected):
    assert chat_body({"messages": [message]})["messages"] == [expected]


@pytest.mark.parametrize(
    ("asked", "kind", "param"),
    [
        ({"max_tokens": 5, "max_completion_tokens": 6}, InvalidRequest, "max_tokens"),
        ({"top_logprobs": 2}, InvalidRequest, "top_logprobs"),
        ({"top_p": 0}, UnsupportedValue, "top_p"),
        ({"reasoning_effort": "none"}, UnsupportedValue, "reasoning_effort"),
        ({"tool_choice": "required"}, InvalidRequest, "tool_choice"),
        ({"tools": [{"type": "custom", "custom": {"name": "c"}}]}, UnsupportedParameter, "tools[0]"),
        (
            {"tools": [TOOL, {"type": "function", "function": {"name": "g", "strict": True}}]},
            UnsupportedValue,
            "tools[1].function.strict",
        ),
        (
            {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "g"}}},
            InvalidRequest,
            "tool_choice.function.name",
        ),
        (
            {"tools": [TOOL], "tool_choice": {"type": "custom", "custom": {"name": "f"}}},
            UnsupportedParameter,
            "tool_choice",
        ),
        (
            {
                "tools": [TOOL],
                "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [{}]}},
            },
            InvalidRequest,
            "tool_choice.allowed_tools.tools[0]",
        ),
        (
            {"tools": [TOOL], "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}}},
            InvalidRequest,
            "tool_choice.allowed_tools.tools",
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "a"}}},
            UnsupportedValue,
            "response_format.json_schema.schema",
        ),
        ({"messages": [{"role": "function", "name": "f", "content": "1"}]}, UnsupportedParameter, "messages[0]"),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://a.example/b"}}]}
                ]
            },
            UnsupportedValue,
            "messages[0].content[0].image_url.url",
        ),
    ],
)
def test_what_ibm_cannot_do_is_refused_by_name(asked, kind, param):
    with pytest.raises(kind) as caught:
        chat_body({"messages": HI} | asked)
    assert type(caught.value) is kind
    assert caught.value.param == param


def test_a_form_keeps_its_description():
    definition = {"name": "a", "description": "A city.", "schema": {"type": "object"}, "strict": None}
    form = chat_body({"messages": HI, "response_format": {"type": "json_schema", "json_schema": definition}})
    assert form["response_format"]["json_schema"] == {
        "name": "a",
        "schema": {"description": "A city.", "type": "object"},
    }


@pytest.mark.parametrize(("seed", "expected"), [(1, 1), (2**32 - 1, 2**32 - 1), (0, 1), (-1, 2**32 - 1), (2**32, 2)])
def test_every_seed_has_one_of_ibms(seed, expected):
    assert generation_body({"seed": seed}, "a", None)["parameters"]["random_seed"] == expected


def test_greedy_decoding_has_no_sampling():
    wanted = generation_body({"temperature": 0, "top_p": 0.5, "top_k": 3, "seed": 1}, "a", None)["parameters"]
    assert wanted == {"include_stop_sequence": False, "max_new_tokens": 16, "decoding_method": "greedy"}


def test_no_limit_is_the_models_own():
    assert generation_body({"max_tokens": None}, "a", 512)["parameters"]["max_new_tokens"] == 512
    assert "max_new_tokens" not in generation_body({"max_tokens": None}, "a", None)["parameters"]


def test_token_ids_are_refused(cloud):
    with pytest.raises(UnsupportedValue):
        ask(cloud, complete, [1, 2], source=LANGUAGE)
    with pytest.raises(UnsupportedValue):
        ask(cloud, embed, [[1, 2]], source=EMBED)


@pytest.mark.parametrize("stream", [False, True])
def test_what_is_too_long_is_told_as_that(cloud, stream):
    for what, text, source, param, more in (
        (chat, "geese " * 5000, CHAT, "messages", {"stream": stream}),
        (complete, "geese " * 5000, LANGUAGE, "prompt", {"stream": stream}),
        (embed, "geese " * 600, EMBED, "input", {}),
    ):
        with pytest.raises(ContextLengthExceeded) as caught:
            ask(cloud, what, text, source=source, **more)
        assert caught.value.param == param


def test_tools_are_refused_by_a_model_that_has_none(http):
    body = {"model": VISION, "messages": HI, "tools": [TOOL]}
    answer = http.post("/v1/chat/completions", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "tools"


@pytest.mark.parametrize(
    ("body", "param"),
    [({"n": 2}, "n"), ({"presence_penalty": 1}, "presence_penalty"), ({"logit_bias": {"1": 1}}, "logit_bias")],
)
def test_what_the_generation_api_does_not_have_is_refused(http, body, param):
    answer = http.post("/v1/completions", json={"model": LANGUAGE, "prompt": "a"} | body)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param


def test_calls_without_index_id_or_end_are_repaired(cloud):
    def call(**function):
        return {"choices": [{"index": 0, "delta": {"tool_calls": [{"function": function}]}}]}

    cloud.faults.append(Fault(events=[call(name="f"), {"choices": [], "usage": {"prompt_tokens": 1}}]))
    chunks = ask(cloud, chat, tools=[TOOL], stream=True)
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    first, rest = deltas[1]["tool_calls"][0], deltas[2]["tool_calls"][0]
    assert first["id"].startswith("call_")
    assert (first["index"], first["type"], first["function"]) == (0, "function", {"name": "f", "arguments": ""})
    assert rest == {"index": 0, "function": {"arguments": "{}"}}
    assert chunks[-2]["choices"][0]["finish_reason"] == "tool_calls"


def test_tokens_of_a_text_are_found_where_they_stand():
    tokens = [{"text": "<s>"}, {"text": "▁Grey"}, {"text": "Ġgeese"}, {"text": "Ċ"}, {"text": "!"}]
    scored = completion_logprobs(tokens, "Grey geese\n!", 10)
    assert scored.tokens == ["<s>", " Grey", " geese", "\n", "!"]
    assert scored.text_offset == [10, 10, 14, 20, 21]
    assert scored.token_logprobs == [None] * 5


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_events_are_read_however_they_come(size):
    stream = (
        b": hello\r\n\r\nid: 1\r\nevent: message\r\ndata: {\r\ndata: }\r\n\r\n"
        b"data:a\n\nevent: error\ndata: b\n\nevent: close\n\rdata: c\r\rdata: cut"
    )

    events = Events(1000)
    read = [one for at in range(0, len(stream), size) for one in events.feed(stream[at : at + size])]
    found = [(event.name, event.data) for event in read if event.name != "comment"]
    assert found == [("message", b"{\n}"), ("message", b"a"), ("error", b"b"), ("message", b"c")]


def test_the_name_of_a_tool_message_is_left_out_and_told():
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    said = [
        {"role": "user", "name": "Ada", "content": "Hi"},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "a", "name": "f", "content": "4"},
    ]
    left_out = []
    sent = chat_body({"messages": said}, left_out.append)["messages"]
    assert sent[0]["name"] == "Ada"
    assert sent[2] == {"role": "tool", "tool_call_id": "a", "content": "4"}
    assert left_out == ["messages[2].name"]
