"""The short way of chunks that differ in their text alone must say the same as the long way."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stand_in import CALL, HEAD, chunk

from specserve.backends.upstream import stream as module
from specserve.backends.upstream.exchange import Exchange, RecentIds
from specserve.backends.upstream.repairs import RepairLog
from specserve.backends.upstream.stream import ChatStream, TextStream
from specserve.backends.upstream.template import Template
from specserve.spec.errors import APIError, UpstreamBreach

FIRST = json.dumps(chunk({"role": "assistant", "content": ""})).encode()


def reader(kind=ChatStream, *, model="ours", usage=False, choices=1):
    return kind(Exchange(CALL, model, choices, usage, RepairLog("ours"), RecentIds()))


def text(words, **more):
    return {**HEAD, "object": "text_completion", "choices": [{"index": 0, "text": words, **more}]}


def both_ways(kind, payloads, **options):
    """What goes out with the short way and without it."""
    outcomes = []
    for lessons in (16, 0):
        taken, found = reader(kind, **options), []
        module._MOST_LESSONS = lessons
        try:
            for payload in payloads:
                try:
                    sent = taken.take(payload)
                    found.append(sent and json.loads(sent))
                except APIError as error:
                    found.append(type(error))
                    break
        finally:
            module._MOST_LESSONS = 16
        outcomes.append(found)
    return outcomes


@settings(max_examples=60, deadline=None)
@given(
    words=st.lists(st.text(), max_size=5),
    escaped=st.booleans(),
    model=st.sampled_from(["ours", "their-name"]),
    usage=st.booleans(),
    name=st.sampled_from(["content", "reasoning_content", "reasoning"]),
)
def test_both_ways_say_the_same(words, escaped, model, usage, name):
    payloads = [FIRST, json.dumps(chunk({name: "x"})).encode()]
    try:
        payloads += [json.dumps(chunk({name: word}), ensure_ascii=escaped).encode() for word in words]
    except UnicodeEncodeError:
        payloads.append(b'{"\xff')
    short, long = both_ways(ChatStream, payloads, model=model, usage=usage)
    assert short == long


@settings(max_examples=60, deadline=None)
@given(inside=st.binary(max_size=12) | st.text('\\"{}[]:,ua0 ', max_size=12).map(str.encode))
def test_whatever_stands_where_the_text_was_both_ways_say_the_same(inside):
    before, after = json.dumps(chunk({"content": "?"})).encode().split(b"?")
    short, long = both_ways(ChatStream, [FIRST, before + b"x" + after, before + inside + after])
    assert short == long


def test_the_short_way_is_taken_and_ends_with_the_choice():
    taken = reader(model="their-name")
    taken.take(FIRST)
    payload = json.dumps(chunk({"content": "he"})).encode()
    assert taken.take(payload) is payload
    assert len(taken._templates) == 1
    taken.take(json.dumps(chunk(finish="stop")).encode())
    assert not taken._templates
    with pytest.raises(UpstreamBreach):
        taken.take(payload)


def test_completions_have_the_short_way_too():
    payloads = [json.dumps(text(words)).encode() for words in ("x", "y", "", 'a "quoted" \n é')]
    short, long = both_ways(TextStream, payloads, usage=True)
    assert short == long
    assert all(one["choices"][0]["logprobs"] is None and one["usage"] is None for one in short)
    taken = reader(TextStream)
    taken.take(payloads[0])
    assert taken._templates


def test_several_choices_have_a_way_each():
    taken = reader(choices=3)
    for words in ("", "a", "b", "c"):
        for index in range(3):
            delta = {"content": words} if words else {"role": "assistant"}
            sent = json.loads(taken.take(json.dumps(chunk(delta, index=index)).encode()))
            assert sent["choices"][0]["index"] == index
            assert sent["choices"][0]["delta"] == delta
    assert len(taken._templates) == 3
    assert taken._lessons == 3


@pytest.mark.parametrize("data", [b'{"a": "x", "b": "x"}', b'{"b": "x", "a": "x"}', b'{"x": "x", "a": "x"}'])
def test_the_right_text_is_found_or_none(data):
    template = Template.learn(data, data, "a")
    changed = data.replace(b'"a": "x"', b'"a": "other"')
    assert template is None or template.apply(changed) == changed
    assert (template is None) != data.startswith(b'{"a"'), "where the first one is another text, there is a doubt"
    assert Template.learn(data, data, "absent") is None
