"""What a connection's bytes mean does not depend on the packets in which they come."""

import itertools

import h11
import httptools
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specserve.http.request_head import HeadLimits
from specserve.http.request_reader import RequestReader
from specserve.spec.errors import APIError

LIMITS = HeadLimits(head=4096, target=512, fields=20)


def read(pieces, limits=LIMITS):
    """Every request that a connection's bytes hold, and the status of the refusal that ends them, if any."""
    reader, requests, head, body = RequestReader(limits), [], None, b""
    for piece in pieces:
        reader.feed(piece)
        try:
            while True:
                if head is None:
                    head, body = reader.next_head(), b""
                    if head is None:
                        break
                body += reader.read_body()
                if not reader.body_complete:
                    break
                requests.append((head.method, head.raw_path, head.query, head.version, tuple(head.headers), body))
                head = None
        except APIError as error:
            return requests, error.status
    return requests, None


def cut(data, places):
    edges = [0, *sorted(places), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]


POST = b"POST /a HTTP/1.1\r\nHost: x\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
NEXT = b"GET /b HTTP/1.1\r\nHost: x\r\n\r\n"
HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n"
OFFER = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
SHORT = {
    "two without a body": b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n" + NEXT,
    "a body that looks like a request": POST + b"Content-Length: %d\r\n\r\n%b" % (len(HIDDEN), HIDDEN),
    "an upgrade line in a body": POST + b"Content-Length: 18\r\n\r\n1\r\nUpgrade: h2c\r\n\r\n" + NEXT,
    "an offer with a body": POST + b"" + OFFER + b"Content-Length: 4\r\n\r\nbody" + NEXT,
    "an offer in capitals": b"GET /a HTTP/1.1\r\nHOST: x\r\nCONNECTION: UPGRADE\r\nUPGRADE: H2C\r\n\r\n" + NEXT,
    "chunks": CHUNKED + b"3;e=1\r\nabc\r\nA\r\n0123456789\r\n0\r\nT: 1\r\n\r\n" + NEXT,
    "an empty line between": POST + b"Content-Length: 1\r\n\r\na\r\n" + NEXT,
    "two lengths": POST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\na" + HIDDEN,
    "a bare line feed": b"GET /a HTTP/1.1\nHost: x\n\n" + HIDDEN,
    "a null byte": b"GET /a HTTP/1.1\r\nHost: x\0\r\n\r\n" + HIDDEN,
    "a chunk without its end": CHUNKED + b"1\r\nabc\r\n0\r\n\r\n" + HIDDEN,
}


@pytest.mark.parametrize("data", SHORT.values(), ids=SHORT.keys())
def test_every_split_in_two_and_in_three_reads_the_same(data):
    expected = read([data])
    assert expected[0] or expected[1]
    for place in range(len(data) + 1):
        assert read(cut(data, [place])) == expected, place
    for places in itertools.combinations(range(0, len(data), 3), 2):
        assert read(cut(data, places)) == expected, places
    assert read([data[i : i + 1] for i in range(len(data))]) == expected


def test_what_is_hidden_in_a_body_is_never_a_request():
    for name in ("a body that looks like a request", "an upgrade line in a body", "an offer with a body"):
        paths = [request[1] for request in read([SHORT[name]])[0]]
        assert paths in ([b"/a"], [b"/a", b"/b"]), name


tokens = st.text("abcXYZ-!~", min_size=1, max_size=8).map(str.encode)
values = st.text('az09 \t,;="é', max_size=12).map(lambda text: text.strip(" \t").encode("latin-1"))
names = tokens.filter(lambda name: name.lower() not in {b"host", b"connection", b"expect"})
bodies = st.one_of(
    st.binary(max_size=60), st.sampled_from([HIDDEN, b"\r\nUpgrade: h2c\r\n\r\n", b"0\r\n\r\n" + HIDDEN, b"\r\n\r\n"])
)


@st.composite
def requests(draw, *, offers=True):
    """The bytes of one request, and what they mean."""
    body = draw(st.none() | bodies)
    fields = draw(st.lists(st.tuples(names, values), max_size=4))
    fields.insert(draw(st.integers(0, len(fields))), (draw(st.sampled_from([b"Host", b"HOST"])), b"x"))
    if offers and draw(st.booleans()):
        fields += [(b"Connection", b"Upgrade"), (draw(st.sampled_from([b"Upgrade", b"uPGRADE"])), b"h2c")]
    content = b""
    if body is not None and draw(st.booleans()):
        places = draw(st.lists(st.integers(0, len(body)), max_size=3))
        content = b"".join(b"%X\r\n%b\r\n" % (len(part), part) for part in cut(body, places) if part) + b"0\r\n"
        content += b"".join(b"T: 1\r\n" for _ in range(draw(st.integers(0, 2)))) + b"\r\n"
        fields.append((b"Transfer-Encoding", b"chunked"))
    elif body is not None:
        fields.append((b"Content-Length", b"%d" % len(body)))
        content = body
    path = b"/" + draw(tokens)
    head = b"".join(b"%b: %b\r\n" % field for field in fields)
    data = b"POST %b HTTP/1.1\r\n%b\r\n%b" % (path, head, content)
    lower = tuple((name.lower(), value) for name, value in fields)
    return data, ("POST", path, b"", "1.1", lower, body or b"")


@settings(max_examples=150, deadline=None)
@given(st.lists(requests(), min_size=1, max_size=4), st.data())
def test_pipelined_requests_are_read_as_they_were_meant_in_any_split(made, data):
    stream = b"".join(sent for sent, _ in made)
    places = data.draw(st.lists(st.integers(0, len(stream)), max_size=12))
    assert read(cut(stream, places)) == ([meant for _, meant in made], None)


@settings(max_examples=300, deadline=None)
@given(st.lists(requests(), min_size=1, max_size=2), st.data())
def test_damaged_requests_are_read_the_same_in_any_split(made, data):
    stream = bytearray(b"".join(sent for sent, _ in made))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(stream) - 1))
        how = data.draw(st.sampled_from(["replace", "drop", "insert"]))
        byte = data.draw(st.sampled_from([b"\n", b"\r", b"\0", b" ", b":", b"\t", b"5", b"g", b"\xff", b"\r\n"]))
        stream[place : place + (how != "insert")] = b"" if how == "drop" else byte
    whole = read([bytes(stream)], HeadLimits(head=200, target=60, fields=5))
    places = data.draw(st.lists(st.integers(0, len(stream)), max_size=12))
    assert read(cut(bytes(stream), places), HeadLimits(head=200, target=60, fields=5)) == whole
    assert read([bytes([byte]) for byte in stream], HeadLimits(head=200, target=60, fields=5)) == whole


def by_h11(stream):
    """The first request that another strict reader finds in the same bytes; None if it refuses them."""
    connection, found = h11.Connection(h11.SERVER), []
    connection.receive_data(stream)
    while True:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError:
            return None
        if isinstance(event, h11.Request):
            found = [event.method.decode(), event.target, b""]
        elif isinstance(event, h11.Data):
            found[-1] += bytes(event.data)
        else:
            return found


class Listener:
    """What llhttp, which Node.js and httptools use, makes of the same bytes."""

    def __init__(self):
        self.found = []

    def on_message_begin(self):
        self.found.append(["", b"", b""])

    def on_url(self, url):
        self.found[-1][1] += url

    def on_body(self, body):
        self.found[-1][2] += body


def by_llhttp(stream):
    """The first request that llhttp finds; None if it refuses the bytes."""
    listener = Listener()
    try:
        httptools.HttpRequestParser(listener).feed_data(stream)
    except httptools.HttpParserError:
        return None
    return listener.found[0]


@settings(max_examples=300, deadline=None)
@given(requests(offers=False), st.data())  # llhttp takes the body behind an offer for the other protocol
def test_what_we_accept_two_other_readers_understand_alike(made, data):
    """Smuggling needs two readers who disagree: a damaged request is either refused here or means the same to all."""
    stream = bytearray(made[0])
    for _ in range(data.draw(st.integers(0, 3))):
        place = data.draw(st.integers(0, len(stream) - 1))
        byte = data.draw(st.sampled_from([b"\n", b"\r", b"\0", b" ", b":", b"\t", b"5", b"+", b"\x0b", b"\xff", b","]))
        stream[place : place + data.draw(st.integers(0, 1))] = byte
    found, refused = read([bytes(stream)])
    if refused or len(found) != 1:
        return
    [(method, path, query, _, _, body)] = found
    target = path + (b"?" + query if query else b"")
    assert by_llhttp(bytes(stream)) in (None, ["", target, body])
    assert by_h11(bytes(stream)) in (None, [method, target, body])


SMUGGLING = {
    "length and chunks": POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and length": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    "two lengths": POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "two equal lengths": POST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\na",
    "a list of lengths": POST + b"Content-Length: 1, 1\r\n\r\na",
    "a signed length": POST + b"Content-Length: +1\r\n\r\na",
    "a hexadecimal length": POST + b"Content-Length: 0x1\r\n\r\na",
    "an empty length": POST + b"Content-Length:\r\n\r\na",
    "a space before the colon": POST + b"Content-Length : 1\r\n\r\na",
    "a tab before the colon": POST + b"Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n",
    "a folded line": POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "a folded value": POST + b"X: a\r\n\tContent-Length: 5\r\n\r\n",
    "two codings": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n",
    "a list of codings": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
    "chunked twice": POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "another coding": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a vertical tab in the coding": POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "chunks in HTTP/1.0": b"POST / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "bare line feeds": b"POST / HTTP/1.1\nHost: x\nContent-Length: 1\n\na",
    "a bare line feed in a value": b"GET / HTTP/1.1\r\nHost: x\r\nX: a\nContent-Length: 30\r\n\r\n",
    "a bare carriage return": b"GET / HTTP/1.1\r\nHost: x\r\nX: a\rContent-Length: 30\r\n\r\n",
    "a null byte in a name": b"GET / HTTP/1.1\r\nHost: x\r\nContent\0Length: 3\r\n\r\n",
    "no name": b"GET / HTTP/1.1\r\nHost: x\r\n: 3\r\n\r\n",
    "no colon": b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length 3\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\nX: x\r\n\r\n",
    "a host with a path": b"GET / HTTP/1.1\r\nHost: x/y\r\n\r\n",
    "a user in the target": b"GET http://x@y/ HTTP/1.1\r\nHost: y\r\n\r\n",
    "two spaces": b"GET  / HTTP/1.1\r\nHost: x\r\n\r\n",
    "a tab in the request line": b"GET\t/ HTTP/1.1\r\nHost: x\r\n\r\n",
    "a space at the end": b"GET / HTTP/1.1 \r\nHost: x\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/1.2": b"GET / HTTP/1.2\r\nHost: x\r\n\r\n",
    "lower-case http": b"GET / http/1.1\r\nHost: x\r\n\r\n",
    "a target that is no path": b"GET hidden HTTP/1.1\r\nHost: x\r\n\r\n",
    "a tunnel": b"CONNECT x:80 HTTP/1.1\r\nHost: x:80\r\n\r\n",
    "bytes beyond ASCII in the target": "GET /é HTTP/1.1\r\nHost: x\r\n\r\n".encode(),
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "a chunk size with a sign": CHUNKED + b"+1\r\na\r\n0\r\n\r\n",
    "a chunk size with a prefix": CHUNKED + b"0x1\r\na\r\n0\r\n\r\n",
    "a chunk size with a space": CHUNKED + b"1 \r\na\r\n0\r\n\r\n",
    "a chunk size without a number": CHUNKED + b"\r\na\r\n0\r\n\r\n",
    "a chunk size of many digits": CHUNKED + b"" + b"0" * 20 + b"1\r\na\r\n",
    "a chunk line with a bare line feed": CHUNKED + b"1\na\r\n0\r\n\r\n",
    "a line feed in a chunk's extension": CHUNKED + b"1;a\nb\r\na\r\n0\r\n\r\n",
    "a chunk that is longer than it says": CHUNKED + b"1\r\nab\r\n0\r\n\r\n",
    "a trailer that is none": CHUNKED + b"0\r\nX : 1\r\n\r\n",
}


@pytest.mark.parametrize("data", SMUGGLING.values(), ids=SMUGGLING.keys())
def test_what_two_readers_could_understand_in_two_ways_is_refused(data):
    assert read([data]) == ([], 400)
    assert read([data[i : i + 1] for i in range(len(data))]) == ([], 400)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        pytest.param(b"GET /" + b"a" * 9000, 414, id="request line without an end"),
        pytest.param(b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414, id="request line"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 70_000, 431, id="value without an end"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\n" + b"a" * 70_000, 431, id="name without an end"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: a\r\n" * 100 + b"\r\n", 431, id="101 headers"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: a\r\n" * 20_000, 431, id="headers without an end"),
        pytest.param(
            CHUNKED + b"0\r\n" + b"A: a\r\n" * 2000,
            431,
            id="trailers",
        ),
        pytest.param(
            CHUNKED + b"0\r\n" + b"A: a\r\n" * 101 + b"\r\n",
            431,
            id="101 trailers",
        ),
        pytest.param(
            CHUNKED + b"1;" + b"a" * 300,
            400,
            id="chunk extension",
        ),
        pytest.param(
            CHUNKED + b"" + (b"1;" + b"a" * 200 + b"\r\na\r\n") * 99,
            400,
            id="chunk extensions",
        ),
        pytest.param(POST + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n", 413, id="length"),
    ],
)
def test_what_is_over_a_limit_is_refused_in_any_split(data, status):
    assert read([data], HeadLimits()) == ([], status)
    for size in (1, 7, 1000, 16384):
        assert read([data[i : i + size] for i in range(0, len(data), size)], HeadLimits()) == ([], status)


def test_a_head_at_each_limit_is_read():
    fields = b"A: a\r\n" * 99
    start = b"GET / HTTP/1.1\r\nHost: x\r\n" + fields[:-2]
    full = start + b"a" * (65536 - len(start) - 4) + b"\r\n\r\n"
    [[request], refusal] = read([full], HeadLimits())
    assert refusal is None
    assert len(request[4]) == 100
    line = b"GET /" + b"a" * (8192 - 16) + b" HTTP/1.1\r\n"
    assert len(line) == 8192
    assert read([line + b"Host: x\r\n\r\n"], HeadLimits())[1] is None
    assert read([b"GET /a" + line[5:] + b"Host: x\r\n\r\n"], HeadLimits())[1] == 414


def test_a_url_as_target_replaces_the_host():
    [[request], _] = read([b"GET http://evil.example:80?q=1 HTTP/1.1\r\nHost: localhost\r\n\r\n"])
    assert request[1:3] == (b"/", b"q=1")
    assert request[4] == ((b"host", b"evil.example:80"),)
