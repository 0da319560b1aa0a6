"""Each repair: what an upstream does wrong, and that what goes out keeps the contract."""

import base64
import copy
import json
import re
import struct
from pathlib import Path

import pytest
from stand_in import HEAD, USAGE, ask, chat, chunk, complete, embed, good, plain, reply, stream

from specserve.backends.upstream.exchange import check
from specserve.backends.upstream.repairs import REPAIRS
from specserve.conformance.stream import check as check_stream

DOCS = Path(__file__).parents[3] / "docs" / "upstream.md"
CALL = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": ""}}
TEXT = {**HEAD, "object": "text_completion", "usage": None}
VECTOR = {"object": "embedding", "index": 0, "embedding": [0.5, -0.25]}


def changed(chunks, change, *at):
    """A copy with some of the chunks changed, by default all."""
    chunks = copy.deepcopy(chunks)
    for position in at or range(len(chunks)):
        change(chunks[position])
    return chunks


def without(name, *at):
    return changed(good("he", "llo"), lambda one: one.pop(name), *at)


def with_choice(change, *at):
    return changed(good("he", "llo"), lambda one: change(one["choices"][0]), *(at or (1, 2)))


def part(**more):
    return {**CALL, **more}


def calls(*deltas, finish="tool_calls"):
    first, *rest = ({"tool_calls": [delta]} for delta in deltas)
    return [chunk({"role": "assistant", "content": None, **first}), *map(chunk, rest), chunk(finish=finish), good()[-1]]


def arguments(text, **more):
    return {"index": 0, "function": {"arguments": text}, **more}


SECOND = {"id": "call_2", "function": {"name": "g", "arguments": "{}"}}

STREAMS = [
    ("id", without("id")),
    ("id", changed(good("he", "llo"), lambda one: one.update(id=None))),
    ("id-changed", changed(good("he", "llo"), lambda one: one.update(id="chatcmpl-2"), 2)),
    ("object", changed(good("he", "llo"), lambda one: one.update(object="chat.completion"))),
    ("object", without("object")),
    ("created", without("created")),
    ("created", changed(good("he", "llo"), lambda one: one.update(created=1.7e9))),
    ("created", changed(good("he", "llo"), lambda one: one.update(created=1700000000000))),
    ("created-changed", changed(good("he", "llo"), lambda one: one.update(created=1700000001), 2)),
    ("index", with_choice(lambda choice: choice.pop("index"))),
    ("index", with_choice(lambda choice: choice.update(index=7))),
    ("delta", with_choice(lambda choice: choice.update(message=choice.pop("delta")))),
    ("delta", with_choice(lambda choice: choice.pop("delta"), 3)),
    ("delta", with_choice(lambda choice: choice.update(delta=None), 3)),
    ("role", good("he", "llo")[1:]),
    ("role", with_choice(lambda choice: choice["delta"].update(role=None), 0)),
    ("role-repeated", with_choice(lambda choice: choice["delta"].update(role="assistant"))),
    ("content", with_choice(lambda choice: choice["delta"].update(content=[{"type": "text", "text": "x"}]), 0)),
    ("reasoning", with_choice(lambda choice: choice["delta"].update(reasoning="so"), 0)),
    ("logprobs", with_choice(lambda choice: choice.update(logprobs={"content": [{"token": "é", "logprob": -1}]}))),
    (
        "logprobs-form",
        with_choice(
            lambda choice: choice.update(
                logprobs={"tokens": ["he"], "token_logprobs": [-1.0], "top_logprobs": [{"he": -1.0, "a": -2.0}]}
            )
        ),
    ),
    ("null-for-absent", changed(good("he", "llo"), lambda one: one.update(system_fingerprint=None))),
    ("null-for-absent", changed(good("he", "llo"), lambda one: one.update(service_tier="on_demand"))),
    ("null-for-absent", with_choice(lambda choice: choice["delta"].update(function_call=None))),
    ("null-for-absent", [*good("he", "llo")[:-1], {**good()[-1], "usage": {**USAGE, "prompt_tokens_details": None}}]),
    ("tool-calls-empty", with_choice(lambda choice: choice["delta"].update(tool_calls=[]))),
    ("tool-calls-empty", with_choice(lambda choice: choice["delta"].update(tool_calls=None))),
    ("finish-key", with_choice(lambda choice: choice.pop("finish_reason"))),
    ("finish-key", with_choice(lambda choice: choice.update(finish_reason=""))),
    ("finish-name", with_choice(lambda choice: choice.update(finish_reason="eos"), 3)),
    ("finish-tool-calls", with_choice(lambda choice: choice.update(finish_reason="tool_calls"), 3)),
    ("finish-missing", [*good("he", "llo")[:3], good()[-1]]),
    ("finish-repeated", [*good("he", "llo")[:4], chunk(), chunk(finish="stop"), good()[-1]]),
    ("usage-key", without("usage", 0, 1, 2, 3)),
    ("usage-beside-choices", [*good("he", "llo")[:3], chunk(finish="stop", usage=USAGE)]),
    ("usage-beside-choices", [{**one, "usage": USAGE} for one in good("he", "llo")[:4]]),
    ("usage-elsewhere", [*good("he", "llo")[:3], chunk(finish="stop", x_groq={"usage": USAGE})]),
    (
        "usage-elsewhere",
        [*good("he", "llo")[:3], chunk(finish="stop", timings={"prompt_n": 1, "cache_n": 2, "predicted_n": 2})],
    ),
    ("usage-counts", [*good("he", "llo")[:-1], {**good()[-1], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}]),
    ("usage-counts", [*good("he", "llo")[:-1], {**good()[-1], "usage": {"prompt_tokens": 3, "total_tokens": 5}}]),
    ("chunk-empty", [{**HEAD, "choices": [], "prompt_filter_results": []}, *good("he", "llo")]),
    ("chunk-empty", [good()[0], {**HEAD, "choices": None}, *good("he", "llo")[1:]]),
]


@pytest.mark.parametrize("usage", [True, False])
@pytest.mark.parametrize(("kind", "sent"), STREAMS, ids=[kind for kind, _ in STREAMS])
def test_a_stream_is_mended(kind, sent, usage):
    asked = {"stream_options": {"include_usage": True}} if usage else {}
    outcome = ask(stream(*sent), stream=True, **asked)
    assert outcome.error is None
    assert kind in outcome.repairs or (kind == "usage-key" and not usage)
    summary = check_stream(outcome.events, usage=usage)
    assert not summary.findings
    assert summary.choices[0].text in {"hello", "llo", "xhello"}
    assert summary.choices[0].finish_reason == "stop"
    for event in outcome.events:
        check("CreateChatCompletionStreamResponse", event)
        assert event["model"] == "ours"
    assert outcome.usage["total_tokens"] == 5


CALLS = [
    ("index", [CALL, arguments("{}"), part(**SECOND), arguments("", index=0)], ["f", "g"]),
    (
        "index",
        [{**CALL, "index": None}, {**arguments("{}"), "index": None}, {**SECOND, "type": "function"}],
        ["f", "g"],
    ),
    ("tool-call-id", [part(id=""), arguments("{}")], ["f"]),
    ("tool-call-id", [part(id=None), arguments("{}")], ["f"]),
    ("tool-call-id", [CALL, arguments("{}"), part(**{**SECOND, "id": "call_1"}, index=1)], ["f", "g"]),
    ("tool-call-type", [part(type=None), arguments("{}")], ["f"]),
    ("tool-call-head-repeated", [CALL, part(function={"name": "f", "arguments": "{}"})], ["f"]),
    ("tool-call-head-repeated", [CALL, arguments("{}", id=None, type=None)], ["f"]),
    ("tool-call-arguments", [part(function={"name": "f", "arguments": {}})], ["f"]),
]


@pytest.mark.parametrize(("kind", "deltas", "names"), CALLS)
def test_streamed_calls_are_mended(kind, deltas, names):
    outcome = ask(stream(*calls(*deltas)), stream=True, stream_options={"include_usage": True})
    assert outcome.error is None
    assert kind in outcome.repairs
    summary = check_stream(outcome.events, usage=True)
    assert not summary.findings
    found = summary.choices[0].calls
    assert [call.name for call in found.values()] == names
    assert len({call.id for call in found.values()}) == len(names)
    assert all(json.loads(call.arguments) == {} for call in found.values())
    assert summary.choices[0].finish_reason == "tool_calls"
    for event in outcome.events:
        check("CreateChatCompletionStreamResponse", event)


@pytest.mark.parametrize("reason", ["tool_calls", "stop"])
def test_a_stream_without_a_finish_reason_that_called_something_ends_with_tool_calls(reason):
    sent = calls(part(function={"name": "f", "arguments": "{}"}))
    del sent[1]
    outcome = ask(stream(*sent), stream=True)
    assert outcome.repairs == {"finish-missing"}
    assert outcome.events[-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_the_end_of_a_complete_stream_needs_no_done():
    outcome = ask(stream(*good("hello"), done=False), stream=True)
    assert outcome.error is None
    assert outcome.repairs == {"done-missing"}


def message(**more):
    return {"role": "assistant", "content": "hello", "refusal": None, **more}


def plain_without(name):
    return {key: value for key, value in plain().items() if key != name}


def plain_choice(**more):
    answer = plain()
    answer["choices"][0] |= more
    return answer


ENTRY = {"token": "hello", "logprob": -0.5, "bytes": list(b"hello"), "top_logprobs": []}
FUNCTION = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}

ANSWERS = [
    ("id", plain_without("id")),
    ("object", plain_without("object")),
    ("created", plain_without("created")),
    ("created", plain(created=1.7e9)),
    ("index", plain_choice(index=None)),
    ("role", plain({"content": "hello", "refusal": None})),
    ("content", plain({"role": "assistant", "refusal": None, "tool_calls": [FUNCTION]}, "tool_calls")),
    ("content", plain(message(content=[{"type": "text", "text": "hel"}, "lo"]))),
    ("refusal", plain({"role": "assistant", "content": "hello"})),
    ("reasoning", plain(message(reasoning="so"))),
    ("logprobs", plain_choice(logprobs={"content": [{"token": "hello", "logprob": -0.5}]})),
    ("logprobs-form", plain_choice(logprobs={"tokens": ["hello"], "token_logprobs": [-0.5]})),
    ("null-for-absent", plain(message(annotations=None, function_call=None))),
    ("null-for-absent", plain(usage=None)),
    ("tool-calls-empty", plain(message(tool_calls=None))),
    ("tool-call-id", plain(message(tool_calls=[FUNCTION, {**FUNCTION}]), "tool_calls")),
    ("tool-call-id", plain(message(tool_calls=[{**FUNCTION, "id": None}]), "tool_calls")),
    ("tool-call-type", plain(message(tool_calls=[{**FUNCTION, "type": None}]), "tool_calls")),
    (
        "tool-call-arguments",
        plain(message(tool_calls=[{**FUNCTION, "function": {"name": "f", "arguments": {"a": 1}}}]), "tool_calls"),
    ),
    ("finish-name", plain(finish="end_turn")),
    ("finish-tool-calls", plain(finish="tool_calls")),
    ("usage-counts", plain(usage={"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 0})),
    ("usage-elsewhere", plain(usage=None, timings={"prompt_n": 3, "predicted_n": 2})),
]


@pytest.mark.parametrize(("kind", "sent"), ANSWERS, ids=[kind for kind, _ in ANSWERS])
def test_a_plain_answer_is_mended(kind, sent):
    outcome = ask(reply(sent))
    assert kind in outcome.repairs
    answer = outcome.json
    check("CreateChatCompletionResponse", answer)
    choice = answer["choices"][0]
    assert choice["message"]["content"] in {"hello", None}
    assert choice["message"]["role"] == "assistant"
    assert choice["finish_reason"] == ("tool_calls" if "tool_calls" in choice["message"] else "stop")
    assert "refusal" in choice["message"]
    if choice["logprobs"]:
        assert choice["logprobs"] == {"content": [ENTRY], "refusal": None}
    calls = choice["message"].get("tool_calls", [])
    assert len({call["id"] for call in calls}) == len(calls)
    if answer.get("usage"):
        assert answer["usage"] == USAGE


def test_an_id_is_given_to_one_answer_only():
    async def twice(backend):
        await chat(backend)
        return await chat(backend)

    outcome = ask(reply(plain()), operation=twice)
    assert outcome.repairs == {"id-repeated"}
    assert outcome.json["id"] == "chatcmpl-ours"


@pytest.mark.parametrize("usage", [True, False])
def test_a_plain_answer_to_a_request_for_a_stream_becomes_one(usage):
    sent = plain(message(tool_calls=[FUNCTION], reasoning_content="so"), "tool_calls")
    outcome = ask(reply(sent), stream=True, stream_options={"include_usage": usage})
    assert outcome.repairs >= {"not-streamed"}
    summary = check_stream(outcome.events, usage=usage)
    assert not summary.findings
    assert summary.choices[0].text == "hello"
    assert summary.choices[0].calls[0].name == "f"
    assert summary.choices[0].finish_reason == "tool_calls"
    assert outcome.usage == USAGE


def text(words, finish=None, **more):
    choice = {"index": 0, "text": words, "logprobs": None, "finish_reason": finish, **more}
    return {**TEXT, "choices": [choice]}


CHAT_FORM = {"content": [{"token": "he", "logprob": -1.0, "top_logprobs": [{"token": "a", "logprob": -2.0}]}]}


def test_completions_are_mended_like_chats():
    broken = text("hello", "stop_sequence")
    del broken["choices"][0]["logprobs"], broken["id"], broken["usage"]
    outcome = ask(reply({**broken, "usage": USAGE}), operation=complete)
    assert outcome.repairs == {"id", "logprobs", "finish-name"}
    check("CreateCompletionResponse", outcome.json)
    outcome = ask(reply({**text("he", "stop", logprobs=CHAT_FORM), "usage": USAGE}), operation=complete)
    assert outcome.repairs == {"logprobs-form"}
    assert outcome.json["choices"][0]["logprobs"] == {
        "tokens": ["he"],
        "token_logprobs": [-1.0],
        "top_logprobs": [{"a": -2.0}],
        "text_offset": [0],
    }


def test_streamed_completions_are_mended_like_streamed_chats():
    sent = [text("he", logprobs=CHAT_FORM), text("llo", logprobs=CHAT_FORM), text("", "eos")]
    del sent[2]["choices"][0]["logprobs"], sent[1]["choices"][0]["finish_reason"]
    sent.append({**TEXT, "choices": [], "usage": USAGE})
    outcome = ask(stream(*sent), operation=complete, stream=True, stream_options={"include_usage": True})
    assert outcome.error is None
    assert outcome.repairs == {"logprobs-form", "logprobs", "finish-key", "finish-name"}
    events = outcome.events
    for event in events:
        check("CreateCompletionResponse", event)
    assert [event["choices"][0]["logprobs"]["text_offset"] for event in events[:2]] == [[0], [2]]
    assert events[-1]["usage"] == USAGE
    assert all(event["usage"] is None for event in events[:-1])
    outcome = ask(stream(text("hello"), done=True), operation=complete, stream=True)
    assert outcome.repairs == {"finish-missing"}
    assert outcome.events[-1]["choices"][0] == {"index": 0, "text": "", "logprobs": None, "finish_reason": "stop"}


def vectors(*data, usage=None):
    return {
        "object": "list",
        "model": "their-name",
        "data": data,
        "usage": usage or {"prompt_tokens": 1, "total_tokens": 1},
    }


PACKED = base64.b64encode(struct.pack("<2f", 0.5, -0.25)).decode()


@pytest.mark.parametrize(("asked", "given"), [("base64", [0.5, -0.25]), ("float", PACKED)])
def test_vectors_come_in_the_format_that_was_asked_for(asked, given):
    outcome = ask(reply(vectors({**VECTOR, "embedding": given})), operation=embed, encoding_format=asked)
    assert outcome.repairs == {"embedding-format"}
    assert outcome.json["data"][0]["embedding"] == (PACKED if asked == "base64" else [0.5, -0.25])
    check("CreateEmbeddingResponse", outcome.json)


def test_vectors_come_in_the_order_of_the_inputs():
    sent = vectors({**VECTOR, "index": 1, "embedding": [1.0]}, {**VECTOR, "embedding": [0.0]})
    outcome = ask(reply(sent), operation=embed, input=["a", "b"])
    assert outcome.repairs == {"embedding-order"}
    assert [one["embedding"] for one in outcome.json["data"]] == [[0.0], [1.0]]


def test_vectors_without_indexes_are_counted():
    sent = vectors({"embedding": [0.0]}, {"embedding": [1.0]}, usage={"prompt_tokens": 2})
    outcome = ask(reply(sent), operation=embed, input=["a", "b"])
    assert outcome.repairs == {"object", "index", "usage-counts"}
    check("CreateEmbeddingResponse", outcome.json)
    assert outcome.json["usage"] == {"prompt_tokens": 2, "total_tokens": 2}


def test_each_repair_is_told_once_for_each_model(capsys):
    async def twice(backend):
        await chat(backend)
        return await chat(backend)

    ask(reply(plain_without("object")), operation=twice)
    assert capsys.readouterr().out.count("kind=object") == 1


def test_a_stream_that_keeps_the_contract_goes_out_byte_by_byte():
    sent = [json.dumps({**one, "model": "ours"}, indent=None, separators=(", ", " :")) for one in good("he", "llö")]
    data = b"".join(b"data: " + one.encode() + b"\n\n" for one in sent)
    outcome = ask(stream(data), stream=True, stream_options={"include_usage": True}, options={"model": "ours"})
    assert outcome.data[: len(data) - len(sent[-1]) - 8] == data[: len(data) - len(sent[-1]) - 8]
    assert outcome.events[-1]["usage"] == USAGE
    assert not outcome.repairs


def test_an_answer_that_keeps_the_contract_goes_out_byte_by_byte():
    data = json.dumps(plain(model="ours"), indent=3).encode()
    outcome = ask(reply(data), options={"model": "ours"})
    assert outcome.data == data
    assert not outcome.repairs


def test_every_repair_has_a_test_and_stands_in_the_docs():
    tests = Path(__file__).parent
    source = "".join(path.read_text() for path in tests.glob("test_*.py"))
    untested = [kind for kind in REPAIRS if f'"{kind}"' not in source]
    assert not untested
    documented = dict(re.findall(r"^\| `([a-z-]+)` \| (.*?) \|$", DOCS.read_text(), re.MULTILINE))
    assert {kind: text for kind, text in documented.items() if kind in REPAIRS} == dict(REPAIRS)
