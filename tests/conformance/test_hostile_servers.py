"""Servers that hang, cut, flood or talk nonsense: a status for each requirement, soon, and never a traceback."""

import json
import socket
import subprocess
import sys
import threading
import time
import zlib
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from specserve.conformance import bounds
from specserve.conformance.evidence import Broken, Sent
from specserve.conformance.report.document import make
from specserve.conformance.report.html import html
from specserve.conformance.report.junit import junit
from specserve.conformance.report.summary import summary
from specserve.conformance.requirements import load, select
from specserve.conformance.runner import Runner
from specserve.conformance.statuses import Status
from specserve.conformance.target import Limits, Target
from specserve.conformance.wire import Wire

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
DEFLATE = zlib.compressobj(wbits=31)
BOMB = b"".join([*(DEFLATE.compress(b" " * 1_000_000) for _ in range(200)), DEFLATE.flush()])
FIELDS = b"{" + b",".join(b'"f%d":{}' % number for number in range(250_000)) + b"}"
CHOICES = b'{"object": "list", "choices": [' + b"{}," * 16_000 + b'{}], "data": [' + b"{}," * 16_000 + b"{}]}"
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


def interim_answers_without_end(peer):
    while True:
        peer.sendall(b"HTTP/1.1 102 Processing\r\n\r\n" * 500)


def send(peer, body, head=HEAD):
    peer.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)


def bad_gateway(peer):
    body = b"<html><h1>502 Bad Gateway</h1></html>"
    head = b"HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\nConnection: close\r\n"
    send(peer, body, head)


def bomb(peer):
    send(peer, BOMB, HEAD + b"Content-Encoding: gzip\r\n")


def very_many_fields(peer):
    send(peer, FIELDS)


def very_many_choices(peer):
    send(peer, CHOICES)


def very_many_headers(peer):
    peer.sendall(HEAD + b"A: b\r\n" * 9000 + b"Content-Length: 2\r\n\r\n{}")


def nested_error(peer):
    send(peer, b'{"error": ' * 900 + b"1" + b"}" * 900, HEAD.replace(b"200 OK", b"400 Bad Request"))


def large_error(peer):
    body = b'{"error": {"message": "' + b"x" * 1_000_000 + b'", "type": "a", "param": null, "code": null}}'
    send(peer, body, HEAD.replace(b"200 OK", b"400 Bad Request"))


def long_event(peer):
    peer.sendall(STREAM)
    while True:
        peer.sendall(b"data: " + b"x" * 65536)


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


EVERYTHING = (
    hang,
    hang_after_headers,
    drip,
    interim_answers_without_end,
    ten_megabytes,
    endless_stream,
    many_events,
    long_event,
    page,
    bad_gateway,
    wrong_length,
    cut_stream,
    no_http,
    nonsense_json,
    deep_json,
    nested_error,
    large_error,
    bomb,
    very_many_fields,
    very_many_choices,
    very_many_headers,
)
GREEDY = (ten_megabytes, endless_stream, long_event, large_error, bomb, very_many_fields, very_many_choices)
MEASURED = """
import sys
from pathlib import Path
from specserve.conformance.report.document import make
from specserve.conformance.runner import Runner
from specserve.conformance.target import Limits, Target
for url in [None, sys.argv[1]]:
    # The first run, of a port where nobody listens, shows what the kit takes without an answer.
    target = Target(url or "http://127.0.0.1:1/v1", model="m", timeout=5, limits=Limits(seconds=60))
    run = Runner(target).run()
    make(run)
    # Not ru_maxrss, which a process inherits from the one that started it.
    memory = Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]
    print(int(memory) // 1024, run.requests)
"""


@pytest.mark.parametrize("behave", EVERYTHING)
def test_the_kit_ends_with_a_status_for_each_requirement(behave):
    chosen = select(
        load().values(), only=["models.*", "http.*", "chat.answers", "chat.stream.done-*", "chat.stream.json", "sdk.*"]
    )
    with serving(behave) as url:
        run = Runner(Target(url, model="m", timeout=0.5, limits=Limits(seconds=4)), chosen).run()
    assert len(run.outcomes) == len(chosen)
    assert not [(o.requirement.id, o.reason) for o in run.outcomes if o.status is Status.ERROR]
    assert run.exit_code in {1, 3}
    for outcome in run.outcomes:
        assert outcome.status is Status.PASS or outcome.reason or outcome.findings, outcome.requirement.id
    assert_reports_tell(run)


def assert_reports_tell(run):
    document = make(run)
    page, cases, lines = html(document), ET.fromstring(junit(document)), summary(document)
    told = {case.get("name") for case in cases.iter("testcase")}
    for outcome in run.outcomes:
        assert outcome.requirement.id in page
        assert any(outcome.requirement.id in name for name in told)
    for answer in run.answers.values():
        if answer.broken:
            assert answer.broken.value in json.dumps(document)
    assert run.strict in lines


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells the most memory of a process")
@pytest.mark.parametrize("behave", GREEDY)
def test_a_whole_run_takes_little_memory_whatever_is_sent(behave):
    with serving(behave) as url:
        done = subprocess.run([sys.executable, "-c", MEASURED, url], capture_output=True, text=True, check=True)
    (without, _), (with_answers, requests) = (map(int, line.split()) for line in done.stdout.splitlines())
    assert requests > 30
    assert with_answers - without < 150  # MiB


def test_a_server_that_has_answered_none_of_several_requests_in_time_is_asked_no_more():
    with serving(hang) as url:
        run = Runner(Target(url, model="m", timeout=0.2)).run()
    assert run.requests == 4
    assert {outcome.status for outcome in run.outcomes} <= {Status.INCONCLUSIVE, Status.SKIP, Status.UNSUPPORTED}
    assert any("4 requests in a row had no answer in time" in outcome.reason for outcome in run.outcomes)


def test_a_gateway_that_always_fails_is_not_waited_for_at_each_request():
    waits = []
    with serving(bad_gateway) as url:
        wire = Wire(5, sleep=waits.append)
        run = Runner(Target(url, model="m"), wire=wire).run()
    assert run.requests > 30
    assert len(waits) == 6
    assert run.exit_code == 3


def test_what_is_too_large_is_said_and_only_its_beginning_is_kept():
    with serving(bomb) as url:
        wire = Wire(5)
        answer = wire.send(Sent("models.list", "listModels", "GET", f"{url}/models", (), b""))
        wire.close()
    assert (answer.broken, answer.detail) == (Broken.TOO_LARGE, f"more than {bounds.LARGEST} bytes")
    assert len(answer.body) == bounds.EVIDENCE


def test_the_number_of_values_and_their_depth_are_those_of_the_json():
    bounds.check_json([json.dumps({"text": "[{," * 100_000, "list": list(range(1000))}).encode()])
    bounds.check_json([b'"' + b'\\"' * 100_000, b"[" * bounds.DEEPEST])
    with pytest.raises(bounds.TooMuch, match="deep"):
        bounds.check_json([b'{"a":' * (bounds.DEEPEST + 1)])
    with pytest.raises(bounds.TooMuch, match="values"):
        bounds.check_json([b"[" + b"0," * bounds.MOST_VALUES])
