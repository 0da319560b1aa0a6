"""Real processes, sockets and signals; a slow application stands in for ours."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

import httpx
import pytest

PATIENCE = 120
"""Seconds for an end, on however busy a machine."""
TOO_LONG = 600
"""Seconds of grace that an end at once does not use up."""

SCRIPT = """
import asyncio, contextlib, json, sys, warnings
warnings.simplefilter("ignore")
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route
from specserve.spec.errors import BackendLoadError
from specserve.process.server import serve
from specserve.models.registry import Registry
from specserve.config.settings import Settings
from specserve.http.interruptions import InterruptionMiddleware

options = json.loads(sys.argv[1])
how = options.pop("how", "")

async def stream(request):
    async def events():
        for number in range(int(request.query_params["events"])):
            yield f"data: {number}\\n\\n".encode()
            await asyncio.sleep(0.05)
    return StreamingResponse(events(), media_type="text/event-stream")

async def wait(request):
    await asyncio.sleep(float(request.query_params["seconds"]))
    return PlainTextResponse("waited")

async def echo(request):
    return PlainTextResponse(await request.body())

@contextlib.asynccontextmanager
async def lifespan(app):
    if how == "cannot load":
        raise BackendLoadError("model 'x': no such file")
    if how == "crash":
        raise RuntimeError("boo")
    if how == "slow":
        print("loading", flush=True)
        try:
            await asyncio.sleep(600)
        finally:
            print("gave up", flush=True)
    yield
    print("models are unloaded", flush=True)

routes = [Route("/stream", stream), Route("/wait", wait), Route("/echo", echo, methods=["POST"])]
app = InterruptionMiddleware(Starlette(routes=routes, lifespan=lifespan))
settings = Settings(**options)
registry = Registry(settings.models)
sys.exit(serve(settings, registry, lambda settings, registry: app))
"""


class Process:
    def __init__(self, **options):
        arguments = [sys.executable, "-c", SCRIPT, json.dumps({"port": 0, "models": ["echo"], **options})]
        # Its standard error goes where its standard output goes, so that reading one cannot block the other.
        self._popen = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.said = ""
        self.port = 0

    def until(self, text):
        while text not in self.said:
            line = self._popen.stdout.readline()
            assert line, self.said
            self.said += line
        return self

    def ready(self):
        self.until("Stop with")
        self.port = int(re.search(r"Serving at http://[^ ]+:(\d+)/v1", self.said)[1])
        return self

    def url(self, path):
        return f"http://127.0.0.1:{self.port}{path}"

    def signal(self, number=signal.SIGTERM):
        os.kill(self._popen.pid, number)

    def end(self):
        status = self._popen.wait(PATIENCE)
        self.said += self._popen.stdout.read()
        return status

    def close(self):
        self._popen.kill()
        self._popen.wait()
        self._popen.stdout.close()


@pytest.fixture
def start():
    running = []

    def begin(**options):
        running.append(Process(**options))
        return running[-1]

    yield begin
    for process in running:
        process.close()


def test_start_up_says_what_where_and_for_whom(start):
    server = start().ready()
    assert "is loading echo (echo)" in server.said
    assert f"Serving at {server.url('/v1')}\n" in server.said
    assert f"Documentation: {server.url('/docs')}\n" in server.said
    assert "Access: open. No API key is set" in server.said


def test_configured_keys_are_counted_and_not_shown(start):
    server = start(api_keys=["sk-one", "sk-two"], host="0.0.0.0").ready()
    server.signal()
    server.end()
    assert "2 are set" in server.said
    assert "sk-" not in server.said


def test_a_key_is_made_and_shown_once_when_others_can_reach_the_server(start):
    server = start(host="0.0.0.0").ready()
    server.signal()
    server.end()
    assert len(re.findall(r"sk-specserve-[\w-]{43}", server.said)) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_an_idle_server_with_status_0(start, number):
    server = start(shutdown_grace_seconds=TOO_LONG).ready()
    with httpx.Client(timeout=60) as client:  # whose idle connection must not hold the end up
        assert client.get(server.url("/wait?seconds=0")).text == "waited"
        server.signal(number)
        assert server.end() == 0
    assert "models are unloaded" in server.said
    assert "Traceback" not in server.said


def test_running_streams_finish_and_new_connections_are_refused(start):
    server = start().ready()
    with httpx.stream("GET", server.url("/stream?events=20"), timeout=60) as response:
        lines = response.iter_lines()
        assert next(lines) == "data: 0"
        server.signal()
        server.until("shutting down")
        time.sleep(0.2)
        with pytest.raises(httpx.ConnectError):
            httpx.get(server.url("/wait?seconds=0"), timeout=60)
        events = [line for line in lines if line]
    assert events[-1] == "data: 19"
    assert server.end() == 0


def test_after_the_grace_period_what_still_runs_is_cut_off_and_told(start):
    server = start(shutdown_grace_seconds=0.5).ready()
    waiting = socket.create_connection(("127.0.0.1", server.port))
    waiting.sendall(b"GET /wait?seconds=60 HTTP/1.1\r\nHost: x\r\n\r\n")
    with httpx.stream("GET", server.url("/stream?events=1000"), timeout=60) as response, waiting:
        lines = response.iter_lines()
        next(lines)
        server.signal()
        *_, last = [line for line in lines if line]
        answer = waiting.makefile("rb").read()
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "service_unavailable"
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b'"code":"service_unavailable"' in answer
    assert server.end() == 0
    assert "models are unloaded" in server.said
    assert "Traceback" not in server.said


def test_a_second_signal_ends_at_once(start):
    server = start(shutdown_grace_seconds=TOO_LONG).ready()
    with httpx.stream("GET", server.url("/stream?events=1000000"), timeout=60) as response:
        lines = response.iter_lines()  # kept: the connection closes with it
        next(lines)
        server.signal()
        server.until("shutting down")
        server.signal()
        assert server.end() == 128 + signal.SIGTERM
    assert "Traceback" not in server.said


def test_a_signal_while_models_load_does_not_wait_for_them(start):
    server = start(how="slow").until("\nloading\n")
    server.signal(signal.SIGINT)
    assert server.end() == 128 + signal.SIGINT
    assert "gave up" in server.said
    assert "Traceback" not in server.said


def told(server):
    """What it said, but for the backends that are not installed where the tests run."""
    lines = server.said.splitlines(keepends=True)
    return "".join(line for line in lines if "a backend is not available" not in line)


def test_a_model_that_cannot_be_loaded_is_one_line(start):
    server = start(how="cannot load")
    assert server.end() == 1
    assert told(server).splitlines()[1:] == ["specserve: model 'x': no such file"]


def test_a_crash_at_start_shows_its_traceback_once(start):
    server = start(how="crash")
    assert server.end() == 1
    assert server.said.count("Traceback") == 1
    assert server.said.endswith("RuntimeError: boo\n")


def test_a_port_in_use_is_one_line_before_models_load(start):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        server = start(port=port)
        assert server.end() == 1
    assert told(server) == f"specserve: port {port} on 127.0.0.1 is in use; choose another with --port\n"


def test_an_address_that_is_not_ours_is_one_line(start):
    server = start(host="192.0.2.1")
    assert server.end() == 1
    assert re.fullmatch(r"specserve: cannot listen on 192\.0\.2\.1 port 0: .+\n", told(server))


def test_what_is_not_http_gets_the_envelope(start):
    server = start().ready()
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(b"GARBAGE\r\n\r\n")
        head, _, body = connection.makefile("rb").read().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"x-request-id: req_" in head
    assert json.loads(body)["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("pause", [0, 0.2])
def test_an_offer_to_upgrade_is_ignored_and_the_body_arrives_whole(start, pause):
    server = start().ready()
    body = b"line\r\nUpgrade: h2c\r\n\r\nend"
    offer = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA"
    head = f"POST /echo HTTP/1.1\r\nHost: x\r\n{offer}\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(head.encode() + body[:5])
        time.sleep(pause)
        connection.sendall(body[5:])
        connection.shutdown(socket.SHUT_WR)
        answer = connection.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(body)
