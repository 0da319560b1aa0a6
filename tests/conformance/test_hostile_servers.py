"""Servers that hang, cut, flood or talk nonsense: a status for each requirement, soon, and never a traceback."""

import socket
import threading
import time
from contextlib import contextmanager

import pytest

from specserve.conformance.report.document import make
from specserve.conformance.report.html import html
from specserve.conformance.report.junit import junit
from specserve.conformance.report.summary import summary
from specserve.conformance.requirements import load, select
from specserve.conformance.runner import Runner
from specserve.conformance.statuses import Status
from specserve.conformance.target import Limits, Target

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"


def hang(peer):
    time.sleep(3)


def hang_after_headers(peer):
    peer.sendall(HEAD + b"Content-Length: 10\r\n\r\n")
    time.sleep(3)


def drip(peer):
    peer.sendall(b"HTTP/1.1 200 OK\r\n")
    for _ in range(40):
        peer.sendall(b"X-Drip: 1\r\n")
        time.sleep(0.1)


def ten_megabytes(peer):
    peer.sendall(HEAD + b"Content-Length: 10485760\r\n\r\n")
    for _ in range(160):
        peer.sendall(b" " * 65536)


def endless_stream(peer):
    peer.sendall(STREAM)
    while True:
        peer.sendall(b'data: {"choices": []}\n\n' * 2000)


def many_events(peer):
    peer.sendall(STREAM)
    for _ in range(12):
        peer.sendall(b'data: {"choices": []}\n\n' * 100)
    peer.sendall(b"data: [DONE]\n\n")


def page(peer):
    body = b"<html><body><h1>It works!</h1></body></html>"
    peer.sendall(HEAD.replace(b"application/json", b"text/html") + b"Content-Length: %d\r\n\r\n" % len(body) + body)


def wrong_length(peer):
    peer.sendall(HEAD + b'Content-Length: 99\r\n\r\n{"object": "list"}')


def cut_stream(peer):
    peer.sendall(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n10\r\ndata: {"
    )


def no_http(peer):
    peer.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")


def nonsense_json(peer):
    body = b'{"object": 3, "data": [null, 7, {"id": []}], "choices": {"0": {}}, "error": [[]], "usage": "none"}'
    peer.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)


def deep_json(peer):
    body = b"[" * 200000
    peer.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)


@contextmanager
def serving(behave):
    listener = socket.create_server(("127.0.0.1", 0))
    stop = threading.Event()

    def talk(peer):
        with peer:
            try:
                peer.settimeout(5)
                peer.recv(1 << 20)
                behave(peer)
                peer.shutdown(socket.SHUT_WR)
                time.sleep(0.05)
            except OSError:
                pass

    def accept():
        while not stop.is_set():
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=talk, args=(peer,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    finally:
        stop.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


@pytest.mark.parametrize(
    "behave",
    [
        hang,
        hang_after_headers,
        drip,
        ten_megabytes,
        endless_stream,
        many_events,
        page,
        wrong_length,
        cut_stream,
        no_http,
        nonsense_json,
        deep_json,
    ],
)
def test_the_kit_ends_with_a_status_for_each_requirement(behave):
    chosen = select(
        load().values(), only=["models.*", "http.*", "chat.answers", "chat.stream.done-*", "chat.stream.json", "sdk.*"]
    )
    with serving(behave) as url:
        run = Runner(Target(url, model="m", timeout=0.5, limits=Limits(seconds=4)), chosen).run()
    assert len(run.outcomes) == len(chosen)
    assert not [(o.requirement.id, o.reason) for o in run.outcomes if o.status is Status.ERROR]
    assert run.exit_code in {1, 3}
    document = make(run)
    assert html(document)
    assert junit(document)
    assert summary(document)
