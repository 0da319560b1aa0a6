"""The parser of event streams gives the same events however the bytes are split."""

from itertools import pairwise

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from specserve.conformance.sse import Event, Parser, parse

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


def split(data, cuts):
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[a:b] for a, b in pairwise(edges)]


@settings(max_examples=10_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(STREAMS, st.lists(st.integers(min_value=0, max_value=400), max_size=12))
def test_any_chunking_gives_the_same_events(stream, cuts):
    data = encode(stream)
    parser = Parser()
    events = [event for piece in split(data, cuts) for event in parser.feed(piece)]
    assert [*events, *parser.close()] == parse(data)


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
