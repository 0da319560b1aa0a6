"""Clients that send too much, too slowly, nothing, or go away: over sockets, against a real server."""

import contextlib
import http.client
import json
import os
import random
import re
import socket
import struct
import threading
import time

import pytest
from servers import running

CHAT = {"model": "echo", "messages": [{"role": "user", "content": "Hello there"}]}
LONG = {**CHAT, "messages": [{"role": "user", "content": "word " * 1000}], "stream": True}
CUTS = int(os.environ.get("SPECSERVE_TEST_CUTS", "300"))
PATIENCE = 120


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Small limits, a model with few places, and another whose streams take long."""
    config = tmp_path_factory.mktemp("http") / "specserve.toml"
    config.write_text(
        """
        max_concurrent_requests = 4
        max_queued_requests = 4
        head_timeout_seconds = 1
        body_timeout_seconds = 1
        idle_timeout_seconds = 30
        write_timeout_seconds = 1
        [[models]]
        id = "echo"
        backend = "echo"
        [[models]]
        id = "slow"
        backend = "echo"
        options = { tokens_per_second = 5 }
        """
    )
    with running("--config", str(config)) as started:
        yield started


def connect(server, **options):
    host, _, port = server.url.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=PATIENCE, **options)


def post(body, *fields, path="/v1/chat/completions", version="1.1"):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"POST {path} HTTP/{version}", "Host: localhost", "Content-Type: application/json", *fields]
    return "\r\n".join([*lines, f"Content-Length: {len(data)}", "", ""]).encode() + data


def answer(connection):
    """All that the server says until it closes."""
    return b"".join(iter(lambda: connection.recv(65536), b""))


def ask(server, sent):
    with connect(server) as connection:
        connection.sendall(sent)
        return answer(connection)


def refused(said, status, code=...):
    head, _, body = said.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), said[:200]
    assert b"\r\nconnection: close" in head
    assert b"\r\nx-request-id: " in head
    error = json.loads(body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert code in {..., error["code"]}
    return True


def until(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.05)


def is_quiet(server):
    health = server.health()
    return health["num_requests_running"] == health["num_requests_waiting"] == 0


CHUNKED = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
GET = b"GET /health HTTP/1.1\r\nHost: localhost\r\n"


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        pytest.param(b"GET /" + b"a" * 9000, 414, "uri_too_long", id="request line"),
        pytest.param(GET + b"A: " + b"a" * 66_000, 431, "request_header_fields_too_large", id="value"),
        pytest.param(GET + b"A: a\r\n" * 101 + b"\r\n", 431, "request_header_fields_too_large", id="headers"),
        pytest.param(b"GARBAGE\r\n\r\n", 400, None, id="garbage"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00", 400, None, id="TLS"),
        pytest.param(post(CHAT, "Transfer-Encoding: chunked"), 400, None, id="length and chunks"),
        pytest.param(post(CHAT, "Content-Length: 1"), 400, None, id="two lengths"),
        pytest.param(post(CHAT, "Content-Length : 1"), 400, None, id="space before the colon"),
        pytest.param(
            CHUNKED + b"zz\r\n",
            400,
            None,
            id="chunk size",
        ),
        pytest.param(
            CHUNKED + b"2\r\n{}\r\n0\r\n" + b"A: a\r\n" * 2000,
            431,
            "request_header_fields_too_large",
            id="trailers",
        ),
        pytest.param(b"GET /health HTT", 408, "request_timeout", id="half a head"),
        pytest.param(post(CHAT)[:-5], 408, "request_timeout", id="half a body"),
        pytest.param(post(b"", path="/nowhere")[:-5] + b"9\r\n\r\n1", 404, "unknown_url", id="refused, half a body"),
    ],
)
def test_it_is_refused_in_the_envelope_and_the_connection_closed(server, sent, status, code):
    assert refused(ask(server, sent), status, code)


def test_headers_without_end_are_not_taken(server):
    with connect(server) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(GET)
        sent = 0
        while sent < 100_000_000:
            connection.sendall(b"A: " + b"a" * 65_533)
            sent += 65536
    assert sent < 50_000_000  # what the system's buffers and the bounded reading on take


def test_a_body_behind_a_refusal_is_not_taken(server):
    with connect(server) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(b"POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999999999\r\n\r\n")
        sent = 0
        while sent < 100_000_000:
            connection.sendall(b"a" * 65536)
            sent += 65536
    assert sent < 50_000_000


def test_a_body_that_trickles_is_given_up(server):
    with connect(server) as connection:
        connection.sendall(post(CHAT)[:-20])
        done = threading.Event()

        def trickle():
            with contextlib.suppress(OSError):
                while not done.wait(0.1):
                    connection.sendall(b" ")

        sender = threading.Thread(target=trickle)
        sender.start()
        try:
            assert refused(answer(connection), 408, "request_timeout")
        finally:
            done.set()
            sender.join()


def test_an_idle_connection_and_a_keep_alive_one_are_used_again(server):
    with connect(server) as connection:
        client = http.client.HTTPConnection("localhost")
        client.sock = connection
        for _ in range(3):
            client.request("POST", "/v1/chat/completions", json.dumps(CHAT), {"Content-Type": "application/json"})
            response = client.getresponse()
            assert response.status == 200
            assert response.getheader("x-content-type-options") == "nosniff"
            response.read()


def test_pipelined_requests_are_answered_in_order_however_many(server):
    many = 3000
    with connect(server) as connection:
        sender = threading.Thread(
            target=connection.sendall,
            args=((GET + b"\r\n") * many + b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",),
        )
        sender.start()
        said = answer(connection)
        sender.join()
    assert said.count(b"HTTP/1.1 200 OK") == many + 1


@pytest.mark.parametrize("pieces", [1, 7, 64, 100_000])
def test_a_hidden_request_in_a_body_never_runs(server, pieces):
    """Behind a path that does not exist, with an offer of another protocol, in small packets."""
    hidden = b"\r\nUpgrade: h2c\r\n\r\nGET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n"
    sent = post(hidden, "Connection: Upgrade", "uPgRaDe: h2c", path="/nowhere") + GET + b"\r\n"
    with connect(server) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(ConnectionError):
            for at in range(0, len(sent), pieces):
                connection.sendall(sent[at : at + pieces])
        said = answer(connection)
    assert refused(said, 404)
    assert said.count(b"HTTP/1.1") == 1


def test_the_first_request_of_javas_client_is_answered(server):
    """It offers HTTP/2 in clear text; the answer is plain HTTP/1.1, and the connection goes on."""
    offer = ("Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAEAAEAAAAIAAAAAAAMAAAAAAAQBAAAAAAUAAEAABgAGAAA")
    sent = post(CHAT, *offer, "Upgrade: h2c") + post(CHAT, "Connection: close")
    said = ask(server, sent)
    assert len(re.findall(rb"HTTP/1\.1 200 OK", said)) == 2
    assert b"101" not in said[:20]


@pytest.mark.parametrize("stream", [False, True])
def test_http_1_0_gets_no_chunks(server, stream):
    said = ask(server, post({**CHAT, "stream": stream}, version="1.0"))
    head, _, body = said.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK")
    assert b"transfer-encoding" not in head
    assert b"connection: close" in head
    if stream:
        assert all(line.startswith(b"data: ") for line in body.split(b"\n\n") if line)
        assert body.endswith(b"data: [DONE]\n\n")
    else:
        assert json.loads(body)["object"] == "chat.completion"


def test_garbage_behind_a_stream_is_refused_behind_its_end(server):
    said = ask(server, post({**CHAT, "stream": True}) + b"\0garbage\r\n\r\n")
    first, end, second = said.partition(b"data: [DONE]\n\n\r\n0\r\n\r\n")
    assert end
    assert b"HTTP/1.1 400" not in first
    assert refused(second, 400)


@pytest.mark.parametrize("behind", [b"", GET, GET + b"\r\n", post(CHAT)[:-5], (GET + b"\r\n") * 20_000])
@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_is_noticed_whatever_it_sent_behind_its_request(server, behind, stream):
    """As many as the model has places and queue: if one place were lost, the last question would not be answered."""
    body = {**LONG, "model": "slow", "stream": stream}
    gone = [connect(server) for _ in range(8)]
    senders = [threading.Thread(target=send, args=(each, post(body) + behind)) for each in gone]
    for sender in senders:
        sender.start()
    until(lambda: server.health()["num_requests_running"] == 4 and server.health()["num_requests_waiting"] == 4)
    for each in gone:
        # As when a process is killed; with bytes unread on either side.
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
        each.close()
    for sender in senders:
        sender.join()
    until(lambda: is_quiet(server))


def send(connection, data):
    with contextlib.suppress(OSError):
        connection.sendall(data)


def test_clients_that_never_read_lose_their_places(server):
    """70 of them ask for more than the system's buffers hold; then another one is served."""
    body = {**LONG, "messages": [{"role": "user", "content": "word " * 1500}], "n": 8}
    deaf = []
    for _ in range(70):
        connection = socket.socket()
        deaf.append(connection)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", int(server.url.rpartition(":")[2])))
        connection.sendall(post(body))
    try:
        until(lambda: sum("client does not read" in line for line in server.output) >= 4)
        until(lambda: is_quiet(server))
        with server.client() as client:
            assert client.post("/v1/chat/completions", json=CHAT).status_code == 200
    finally:
        for connection in deaf:
            connection.close()


def test_after_random_cuts_nothing_is_held(server):
    """Streams, plain requests, pipelined and half ones, each cut at random; `SPECSERVE_TEST_CUTS` says how many."""
    dice = random.Random(14)
    made = [
        post(LONG),
        post({**LONG, "stream": False}),
        post({**LONG, "model": "slow"}),
        post(CHAT) * 3,
        post({**LONG, "model": "slow"}) + GET,
        post({**LONG, "model": "slow"}) + post(CHAT),
        post({**CHAT, "model": "none"}),
        post(CHAT, path="/nowhere"),
        GET + b"\r\n",
    ]
    for _ in range(CUTS):
        sent = dice.choice(made)
        if dice.random() < 0.3:
            sent = sent[: dice.randrange(len(sent))]
        with connect(server) as connection:
            with contextlib.suppress(ConnectionError):
                connection.sendall(sent)
                if dice.random() < 0.5:
                    connection.settimeout(dice.random() / 50)
                    with contextlib.suppress(TimeoutError):
                        connection.recv(dice.choice([1, 100, 65536]))
            if dice.random() < 0.5:  # a reset, not an orderly end
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    until(lambda: is_quiet(server))
    with server.client() as client:
        for model in ("echo", "echo", "echo", "echo", "echo"):
            assert client.post("/v1/chat/completions", json={**CHAT, "model": model}).status_code == 200


def test_half_heads_and_half_bodies_keep_nobody_out():
    """120 of each, where 40 connections fit: the oldest make room."""
    with running("--model", "echo", "--max-connections", "40", "--head-timeout-seconds", "600") as server:
        held = []
        try:
            for number in range(240):
                connection = connect(server)
                held.append(connection)
                with contextlib.suppress(ConnectionError):
                    connection.sendall(GET if number % 2 else post(CHAT)[:-5])
                if number % 40 == 39:
                    with server.client() as client:
                        assert client.post("/v1/chat/completions", json=CHAT).status_code == 200
            assert server.health()["num_requests_running"] == 0
        finally:
            for connection in held:
                connection.close()
