"""The parser of event streams gives the same events however the bytes are split."""

import re
from itertools import pairwise
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from specserve.spec.sse import Event, Parser, comment, event, parse

PIECES = [
    "data: a",
    "data:b",
    "data",
    "data: é日本\U0001f600",
    "event: x",
    "id: 7",
    "id: a\0b",
    "retry: 12",
    "retry: x",
    ": note",
    "other: y",
    "",
]
STREAMS = st.tuples(
    st.booleans(), st.lists(st.tuples(st.sampled_from(PIECES), st.sampled_from(["\n", "\r", "\r\n"])), max_size=14)
)


def encode(stream):
    bom, lines = stream
    return (b"\xef\xbb\xbf" if bom else b"") + "".join(text + end for text, end in lines).encode()


def in_pieces(data, cuts):
    parser = Parser()
    edges = sorted({0, len(data), *cuts})
    events = [event for a, b in pairwise(edges) for event in parser.feed(data[a:b])]
    return [*events, *parser.close()]


def by_the_book(data):
    """The data of each event, read with the whole stream at hand."""
    found, block = [], []
    for line in re.split("\r\n|\r|\n", data.decode().removeprefix("\ufeff"))[:-1]:
        name, _, value = line.partition(":")
        if line == "" and block:
            found.append("\n".join(block))
        if line == "":
            block = []
        elif name == "data":
            block.append(value.removeprefix(" "))
    return found


# Each stream is cut in ten ways at random, and in one at every byte: drawing a stream takes longer than parsing it.
@settings(max_examples=1_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(STREAMS, st.integers(min_value=0, max_value=2**32))
def test_any_of_10_000_chunkings_gives_the_same_events(stream, seed):
    data = encode(stream)
    whole = parse(data)
    assert [event.data for event in whole] == by_the_book(data)
    chance = Random(seed)
    for _ in range(10):
        cuts = {chance.randint(0, len(data)) for _ in range(chance.randint(0, 12))}
        assert in_pieces(data, cuts) == whole, cuts
    assert in_pieces(data, range(len(data))) == whole


def test_the_examples_of_the_standard():
    assert parse(b"data: YHOO\ndata: +2\ndata: 10\n\n") == [Event("YHOO\n+2\n10")]
    assert parse(b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n") == [
        Event("first event", last_id="1"),
        Event("second event"),
        Event(" third event"),
    ]
    assert parse(b"data\n\ndata\ndata\n\ndata:") == [Event(""), Event("\n")]
    assert parse(b"data:test\n\ndata: test\n\n") == [Event("test"), Event("test")]


def test_a_name_and_a_time_belong_to_one_event():
    assert parse(b"event: add\nretry: 5\ndata: 1\n\ndata: 2\n\n") == [Event("1", "add", retry=5), Event("2")]


def test_what_the_end_cuts_off_is_told_but_not_dispatched():
    parser = Parser()
    assert list(parser.feed(b"data: [DONE]\n")) == []
    assert parser.pending
    assert list(parser.close()) == []


def test_bytes_that_are_not_utf8_are_told():
    parser = Parser()
    list(parser.feed(b"data: caf\xe9\n\n"))
    assert parser.invalid_utf8


@pytest.mark.parametrize("name", ["", "response.created"])
@pytest.mark.parametrize("data", ["{}", '{"a": "é🎉"}', "two\nlines", "a\rb\r\nc", "", "ends with one\n"])
def test_an_event_that_is_written_is_read_as_the_same(data, name):
    lines = data.replace("\r\n", "\n").replace("\r", "\n")
    expected = [Event(lines, name or "message")]
    assert parse(event(data.encode(), name)) == expected
    assert parse(comment("keep-alive") + event(data.encode(), name) + comment("again")) == expected


@pytest.mark.parametrize("text", ["a\nb", "a\r"])
def test_a_name_or_a_comment_of_several_lines_is_not_written(text):
    with pytest.raises(ValueError, match="line"):
        event(b"{}", text)
    with pytest.raises(ValueError, match="line"):
        comment(text)
