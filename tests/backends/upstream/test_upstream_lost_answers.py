"""Answers with small faults that real servers make: they reach the client, mended, and are not lost."""

import base64
import json
import struct

import pytest
from stand_in import CALL as CALLED
from stand_in import HEAD, USAGE, ask, chunk, complete, embed, good, plain, reply, stream

from specserve.backends.upstream.exchange import Exchange, RecentIds, check
from specserve.backends.upstream.repairs import RepairLog
from specserve.backends.upstream.stream import ChatStream
from specserve.conformance.stream import check as check_stream
from specserve.spec.errors import UpstreamBreach

TOOLS = [{"type": "function", "function": {"name": "f"}}]
CALL = {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}
WHOLE = {**CALL, "function": {"name": "f", "arguments": "{}"}}
ASKED = {"stream": True, "stream_options": {"include_usage": True}, "tools": TOOLS}


def called(finish="tool_calls", **function):
    call = {"id": "a", "type": "function", "function": {"name": "f", **function}}
    return plain({"role": "assistant", "content": None, "refusal": None, "tool_calls": [call]}, finish)


def choice(**changes):
    answer = plain()
    answer["choices"][0] |= changes
    return answer


PLAIN = [
    ("finish-key", choice(finish_reason=None)),
    ("finish-key", choice(finish_reason="")),
    ("finish-stop", called("stop", arguments="{}")),
    ("finish-name", choice(finish_reason="STOP")),
    ("tool-call-arguments", called(arguments=None)),
    ("tool-call-arguments", called(arguments="")),
    ("tool-call-arguments", called()),
    ("usage-empty", plain(usage={})),
    ("usage-empty", plain(usage={"completion_tokens": 3})),
    ("usage-empty", plain(usage={"prompt_tokens": -1, "completion_tokens": "9" * 5000})),
    ("usage-counts", plain(usage={"prompt_tokens": "3", "completion_tokens": 2.0, "total_tokens": None})),
    ("usage-counts", plain(usage={"completion_tokens": 2, "total_tokens": 5})),
    ("created", plain(created="1700000000")),
    ("created", plain(created="9" * 5000)),
    ("created", plain(created=1.7e9)),
    ("choice-null", {**plain(), "choices": [None, *plain()["choices"]]}),
    ("message", {**plain(), "choices": [{"index": 0, "text": "hello", "finish_reason": "stop"}]}),
    ("message", {**plain(), "choices": [{"index": 0, "delta": {"content": "hello"}, "finish_reason": "stop"}]}),
    ("null-for-absent", plain(service_tier=7)),
    ("null-for-absent", plain({"role": "assistant", "content": "hello", "refusal": None, "annotations": "none"})),
    ("null-for-absent", plain(usage={**USAGE, "prompt_tokens_details": {"cached_tokens": "many"}})),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "sent"), PLAIN)
def test_a_plain_answer_is_mended_and_reaches_the_client(kind, sent):
    outcome = ask(reply(sent), tools=TOOLS)
    assert kind in outcome.repairs
    check("CreateChatCompletionResponse", outcome.json)
    answered = outcome.json["choices"][0]
    calls = answered["message"].get("tool_calls")
    assert answered["finish_reason"] == ("tool_calls" if calls else "stop")
    assert calls or answered["message"]["content"] == "hello"
    assert not calls or json.loads(calls[0]["function"]["arguments"]) == {}
    assert outcome.json.get("usage", USAGE) | USAGE == outcome.json.get("usage", USAGE)


def test_a_call_beside_its_function_is_put_in_its_place():
    call = {"id": "a", "name": "f", "arguments": {"a": 1}}
    message = {"role": "assistant", "content": None, "refusal": None, "tool_calls": call}
    outcome = ask(reply(plain(message, "tool_calls")), tools=TOOLS)
    assert "tool-call-function" in outcome.repairs
    (found,) = outcome.json["choices"][0]["message"]["tool_calls"]
    assert found == {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}


def test_the_arguments_of_an_older_function_call_are_mended_too():
    message = {"role": "assistant", "content": None, "refusal": None, "function_call": {"name": "f", "arguments": None}}
    outcome = ask(reply(plain(message, "function_call")))
    assert outcome.json["choices"][0]["message"]["function_call"]["arguments"] == "{}"


def test_a_tool_that_the_client_named_ends_with_stop_as_at_openai():
    sent = called("stop", arguments="{}")
    named = {"type": "function", "function": {"name": "f"}}
    assert ask(reply(sent), tools=TOOLS, tool_choice=named).json["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("finish", [None, ""])
def test_a_completion_without_a_finish_reason_is_mended(finish):
    text = {**HEAD, "object": "text_completion", "usage": {}}
    sent = {**text, "choices": [{"index": 0, "text": "hello", "logprobs": None, "finish_reason": finish}]}
    outcome = ask(reply(sent), operation=complete)
    check("CreateCompletionResponse", outcome.json)
    assert outcome.json["choices"][0] == {"index": 0, "text": "hello", "logprobs": None, "finish_reason": "stop"}
    assert outcome.repairs == {"finish-key", "usage-empty"}


VECTOR = {"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        (None, 0),
        ({}, 0),
        ([], 0),
        ({"prompt_tokens": None, "total_tokens": "x"}, 0),
        ({"total_tokens": 4}, 4),
        ({"prompt_tokens": "4"}, 4),
        ({"prompt_tokens": 4.0, "total_tokens": -1}, 4),
        ({"prompt_tokens": int("9" * 18)}, 0),
    ],
)
def test_embeddings_without_a_usage_that_can_be_read_are_mended(usage, tokens):
    sent = {"object": "list", "model": "their-name", "data": [VECTOR], "usage": usage}
    outcome = ask(reply(sent), operation=embed)
    check("CreateEmbeddingResponse", outcome.json)
    assert outcome.json["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens}
    absent = ask(reply({name: value for name, value in sent.items() if name != "usage"}), operation=embed)
    assert absent.json["usage"] == {"prompt_tokens": 0, "total_tokens": 0}


def test_embeddings_with_other_faults_are_mended():
    packed = base64.b64encode(struct.pack("<2f", 0.5, 0.25)).decode()
    sent = {"data": [{"embedding": packed, "index": "0", "object": "vector"}], "object": None, "model": 3}
    outcome = ask(reply(sent), operation=embed, encoding_format="float")
    assert outcome.json["data"] == [VECTOR]


def ran(*deltas, finish="tool_calls", **asked):
    events = [chunk({"role": "assistant", "content": None})]
    events += [chunk({"tool_calls": [delta]}) for delta in deltas]
    outcome = ask(stream(*events, chunk(finish=finish), good()[-1]), **{**ASKED, **asked})
    assert outcome.error is None, outcome.error
    for event in outcome.events:
        check("CreateChatCompletionStreamResponse", event)
    summary = check_stream(outcome.events, usage=True)
    assert not summary.findings
    calls = [(call.id, call.name, call.arguments) for call in summary.choices[0].calls.values()]
    return calls, summary.choices[0].finish_reason, outcome.repairs


def later(arguments, **more):
    return {"index": 0, "function": {"arguments": arguments}, **more}


@pytest.mark.parametrize(
    "deltas",
    [
        [{**CALL, "function": {"name": "f", "arguments": None}}, later('{"a":'), later("1}")],
        [{**CALL, "function": {"name": "f"}}, later('{"a":'), later("1}")],
        [CALL, later(None), later('{"a":1}'), later(None), {"index": 0, "function": None}, {"index": 0}],
        [{**CALL, "function": {"name": None}}, later('{"a":'), {"index": 0, "function": {"name": "f"}}, later("1}")],
        [{"index": 0, "id": "a", "name": "f", "arguments": '{"a":1}'}],
    ],
)  # fmt: skip
def test_calls_whose_pieces_have_nulls_are_whole(deltas):
    calls, finish, repairs = ran(*deltas)
    assert calls == [("a", "f", '{"a":1}')]
    assert finish == "tool_calls"
    assert repairs & {"tool-call-arguments", "tool-call-head-repeated", "tool-call-function", "tool-call-head-late"}


def test_a_call_that_never_gets_arguments_has_those_of_none():
    assert ran(CALL)[0] == [("a", "f", "{}")]
    assert ran(CALL, finish="stop")[0] == [("a", "f", "{}")]
    events = [chunk({"role": "assistant", "tool_calls": [CALL]}), good()[-1]]
    outcome = ask(stream(*events), **ASKED)
    summary = check_stream(outcome.events, usage=True)
    assert summary.choices[0].calls[0].arguments == "{}"
    events = [chunk({"role": "assistant", "tool_calls": [CALL]}, "tool_calls"), good()[-1]]
    summary = check_stream(ask(stream(*events), **ASKED).events, usage=True)
    assert summary.choices[0].calls[0].arguments == "{}"


def test_a_stream_that_called_a_tool_and_says_stop_says_tool_calls():
    assert ran(WHOLE, finish="stop")[1:] == ("tool_calls", {"finish-stop"})
    named = {"type": "function", "function": {"name": "f"}}
    assert ran(WHOLE, finish="stop", tool_choice=named)[1:] == ("stop", set())
    assert ran(WHOLE, finish="length")[1] == "length"


def test_another_id_without_a_name_at_the_same_index_is_the_same_call():
    calls, _, repairs = ran(CALL, later('{"a":', id="b"), later("1}", id="c"))
    assert calls == [("a", "f", '{"a":1}')]
    assert "tool-call-id-changed" in repairs


def test_another_id_with_a_name_at_the_same_index_is_another_call():
    second = {**WHOLE, "id": "b"}
    assert ran(WHOLE, second)[0] == [("a", "f", "{}"), ("b", "f", "{}")]


def grown(**message):
    answer = plain({"role": "assistant", **message}, None)
    answer["usage"] = None
    return answer


def test_messages_that_grow_become_what_is_new_in_each():
    call = {"index": 0, "id": "a", "type": "function"}
    sent = [
        grown(content=""),
        grown(content="Hel"),
        grown(content="Hello"),
        grown(content="Hello", tool_calls=[{**call, "function": {"name": "f", "arguments": ""}}]),
        grown(content="Hello", tool_calls=[{**call, "function": {"name": "f", "arguments": '{"a"'}}]),
        grown(content="Hello", tool_calls=[{**call, "function": {"name": "f", "arguments": '{"a":1}'}}]),
        {**plain({"role": "assistant", "content": "Hello"}, "tool_calls")},
    ]
    outcome = ask(stream(*sent), **ASKED)
    assert outcome.error is None, outcome.error
    summary = check_stream(outcome.events, usage=True)
    assert not summary.findings
    assert summary.choices[0].text == "Hello"
    assert summary.choices[0].calls[0].arguments == '{"a":1}'
    assert "delta-grown" in outcome.repairs
    assert outcome.usage == USAGE


def test_messages_in_the_place_of_deltas_that_do_not_grow_are_deltas():
    sent = [grown(content="Hel"), grown(content="lo"), grown(content="lo"), plain({"role": "assistant"}, "stop")]
    summary = check_stream(ask(stream(*sent), **ASKED).events, usage=True)
    assert summary.choices[0].text == "Hellolo"


def test_a_message_that_takes_back_what_it_said_is_a_breach():
    outcome = ask(stream(grown(content="Hel"), grown(content="Hello"), grown(content="Bye")), **ASKED)
    assert isinstance(outcome.error, UpstreamBreach)


def test_a_streams_other_small_faults_are_mended():
    first = chunk({"role": "assistant", "content": "hello"}, created="1700000000")
    first["choices"].insert(0, None)
    last = chunk(finish="stop", usage={"completion_tokens": 2, "total_tokens": "5"})
    outcome = ask(stream(first, chunk(usage={}), last), **ASKED)
    summary = check_stream(outcome.events, usage=True)
    assert not summary.findings
    assert summary.choices[0].text == "hello"
    assert {"choice-null", "usage-counts", "usage-empty", "created"} <= outcome.repairs
    assert outcome.events[-1]["usage"] == USAGE


@pytest.mark.parametrize("continuous", [True, False])
def test_usage_in_each_chunk_is_passed_on_to_a_client_that_asked_for_it(continuous):
    so_far = {**USAGE, "completion_tokens": 1, "total_tokens": 4}
    sent = [chunk({"role": "assistant", "content": "x"}, usage=so_far), chunk(finish="stop", usage=USAGE)]
    asked = Exchange(CALLED, "ours", 1, True, RepairLog("ours"), RecentIds(), continuous_usage=continuous)
    read = ChatStream(asked)
    out = [read.take(json.dumps(one).encode()) for one in sent] + list(read.end(done=True))
    expected = [so_far, USAGE, USAGE] if continuous else [None, None, USAGE]
    assert [json.loads(one)["usage"] for one in out] == expected
