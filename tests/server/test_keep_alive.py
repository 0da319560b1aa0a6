"""A stream whose first chunk is long in coming starts without it, once nothing can be refused any more."""

import asyncio
import threading
from contextlib import contextmanager
from pathlib import Path

import openai
import pytest
from lives import until
from servers import running
from starlette.requests import ClientDisconnect, Request

from specserve.backends.base import ACCEPTED, EncodedEvents
from specserve.handlers._delivery.stream import EventStream
from specserve.models.admission import Admission

TESTS = str(Path(__file__).parent.parent)
COMMENT = ": keep-alive"


@pytest.fixture(scope="module")
def gate(tmp_path_factory):
    return tmp_path_factory.mktemp("gate") / "open"


@pytest.fixture(autouse=True)
def closed(gate):
    gate.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def server(gate, tmp_path_factory):
    config = tmp_path_factory.mktemp("directed") / "specserve.toml"
    config.write_text(
        f'[[models]]\nid = "directed"\nbackend = "directed_backend:Directed"\nsource = "{gate}"\n'
        "limits = { max_concurrent_requests = 1, max_queued_requests = 1 }\n"
        '[[models]]\nid = "slow"\nbackend = "echo"\n'
        "options = { first_token_delay = 0.4, tokens_per_second = 5 }\n"
    )
    flags = ("--config", str(config), "--stream-keep-alive-seconds", "0.05", "--validate-responses")
    with running(*flags, environ={"PYTHONPATH": TESTS}) as server:
        yield server


def body(words, model="directed"):
    return {"model": model, "stream": True, "messages": [{"role": "user", "content": words}]}


@contextmanager
def streaming(server, words):
    with server.client() as client, client.stream("POST", "/v1/chat/completions", json=body(words)) as answer:
        yield answer, (line for line in answer.iter_lines() if line)


def test_headers_and_comments_come_before_the_first_chunk(server, gate):
    with streaming(server, "accept wait say") as (answer, lines):
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert [next(lines) for _ in range(3)] == [COMMENT] * 3
        gate.touch()
        rest = [line for line in lines if line != COMMENT]
    assert '"content":"said"' in rest[0]
    assert rest[-1] == "data: [DONE]"


def test_comments_fill_a_gap_between_chunks_though_nothing_was_said_of_acceptance(server, gate):
    with streaming(server, "say wait say") as (_, lines):
        assert '"content":"said"' in next(lines)
        assert [next(lines) for _ in range(3)] == [COMMENT] * 3
        gate.touch()
        assert [line for line in lines if line != COMMENT][-1] == "data: [DONE]"


@pytest.mark.parametrize("words", ["pause refuse", "accept refuse"])
def test_what_is_refused_before_the_response_starts_is_a_plain_400(server, words):
    with server.client() as client:
        answer = client.post("/v1/chat/completions", json=body(words))
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "messages"


def test_what_fails_after_the_response_has_started_is_an_event(server):
    with streaming(server, "accept pause fail") as (answer, lines):
        assert answer.status_code == 200
        *comments, error = lines
    assert set(comments) == {COMMENT}
    assert '"code":"engine_failure"' in error


def test_a_request_in_the_queue_hears_nothing_yet_and_the_next_is_a_plain_429(server, gate):
    with streaming(server, "accept wait say") as (_, lines):
        queued = []
        with server.client() as client:
            asking = threading.Thread(
                target=lambda: queued.append(client.post("/v1/chat/completions", json=body("refuse")))
            )
            asking.start()
            try:
                assert until(lambda: server.health()["num_requests_waiting"] == 1)
                with server.client() as another:
                    assert another.post("/v1/chat/completions", json=body("say")).status_code == 429
                assert [next(lines) for _ in range(5)] == [COMMENT] * 5
            finally:
                gate.touch()
                asking.join()
    assert queued[0].status_code == 400


def test_a_client_that_leaves_while_it_hears_comments_ends_the_generation(server):
    with streaming(server, "accept wait") as (_, lines):
        assert next(lines) == COMMENT
        assert server.health()["num_requests_running"] == 1
    assert until(lambda: server.health()["num_requests_running"] == 0)


def test_the_official_client_reads_a_stream_with_comments(server):
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none")
    with server.client() as raw:
        assert COMMENT in raw.post("/v1/chat/completions", json=body("hi", "slow")).text
    with client.chat.completions.create(**body("hello", "slow")) as stream:
        assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == "hello"


def test_a_completion_is_kept_alive_too(server):
    with server.client() as client:
        answer = client.post("/v1/completions", json={"model": "slow", "prompt": "hi", "stream": True})
    assert answer.text.startswith(COMMENT)


def test_with_0_no_comment_is_ever_sent(tmp_path):
    config = tmp_path / "specserve.toml"
    config.write_text(
        'stream_keep_alive_seconds = 0\n[[models]]\nid = "directed"\nbackend = "directed_backend:Directed"\n'
    )
    with (
        running("--config", str(config), environ={"PYTHONPATH": TESTS}) as server,
        streaming(server, "accept pause say pause say") as (_, lines),
    ):
        assert all(line.startswith("data: ") for line in lines)


class Model:
    """As much of a served model as a stream looks at."""

    def __init__(self):
        self.admission = Admission(1, 0)


def send_stream(chunks, send):
    """Run a stream in this process: (the model's requests inside afterwards, what it raised)."""

    async def go():
        model = Model()
        scope = {"type": "http", "state": {"log": {}, "stream_keep_alive_seconds": 0.01}}

        async def receive():
            await asyncio.Event().wait()

        error = None
        try:
            await EventStream(Request(scope), model, chunks, include_usage=False)(scope, receive, send)
        except Exception as raised:  # noqa: BLE001  it is what the test looks at
            error = raised
        return model.admission.running, error

    return asyncio.run(go())


@pytest.mark.parametrize("first", [EncodedEvents(b"data: 1\n\n"), ACCEPTED], ids=["a chunk", "a comment"])
def test_a_response_that_cannot_be_sent_ends_the_generation(first):
    closed = []

    async def chunks():
        try:
            yield first
            await asyncio.Event().wait()
        finally:
            closed.append(True)

    async def send(_message):
        raise ConnectionResetError("gone")

    running, error = send_stream(chunks(), send)
    assert (running, closed) == (0, [True])
    assert isinstance(error, ConnectionResetError)
    assert not isinstance(error, ClientDisconnect)
