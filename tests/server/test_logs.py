import asyncio
import io
import json
import logging

import httpx
import pytest
import structlog
from starlette.responses import PlainTextResponse, StreamingResponse

from specserve.http.request_id import RequestIdMiddleware
from specserve.telemetry import logs
from specserve.telemetry.access_log import AccessLogMiddleware

SECRET = "sk-very-secret"


@pytest.fixture(autouse=True)
def _logging_is_put_back():
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


@pytest.fixture
def lines():
    """Lines logged in JSON at info since the test began."""
    stream = io.StringIO()
    logs.configure("info", "json", stream)
    return lambda: [json.loads(line) for line in stream.getvalue().splitlines()]


def request(app, path="/v1/chat/completions?api_key=in-the-query", **options):
    async def ask():
        transport = httpx.ASGITransport(RequestIdMiddleware(AccessLogMiddleware(app)), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            return await client.post(path, headers={"authorization": f"Bearer {SECRET}"}, **options)

    return asyncio.run(ask())


async def chat(scope, receive, send):
    scope["state"]["log"].update(model="tiny", prompt_tokens=3, completion_tokens=5)
    structlog.get_logger("specserve.test").info("in the middle")
    await PlainTextResponse("hello")(scope, receive, send)


def test_every_request_leaves_one_line(lines):
    response = request(chat, content=SECRET)
    *_, line = lines()
    assert line.pop("timestamp").endswith("Z")
    assert 0 <= line.pop("first_byte_ms") <= line.pop("duration_ms")
    assert line == {
        "event": "request",
        "level": "info",
        "request_id": response.headers["x-request-id"],
        "method": "POST",
        "path": "/v1/chat/completions",
        "status": 200,
        "model": "tiny",
        "prompt_tokens": 3,
        "completion_tokens": 5,
    }


def test_lines_from_inside_a_request_carry_its_id(lines):
    response = request(chat)
    inside, _ = lines()
    assert inside["event"] == "in the middle"
    assert inside["request_id"] == response.headers["x-request-id"]


def test_no_header_body_or_query_is_logged(lines):
    request(chat, content=SECRET)
    assert SECRET not in str(lines())
    assert "in-the-query" not in str(lines())


def test_the_time_to_the_first_byte_is_that_of_the_first_event(lines):
    async def events():
        await asyncio.sleep(0.05)
        yield b"data: 1\n\n"
        await asyncio.sleep(0.05)
        yield b"data: 2\n\n"

    request(StreamingResponse(events()))
    (line,) = lines()
    assert 45 <= line["first_byte_ms"] < line["duration_ms"] - 40


def test_a_crash_is_a_500_and_an_error(lines):
    async def crash(scope, receive, send):
        raise RuntimeError("broken")

    request(crash)
    (line,) = lines()
    assert (line["status"], line["level"]) == (500, "error")


@pytest.mark.parametrize(("begin", "status"), [(False, 499), (True, 200)])
def test_a_client_that_goes_away_is_told_apart(lines, begin, status):
    async def listen(scope, receive, send):
        if begin:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        await receive()

    async def gone():
        return {"type": "http.disconnect"}

    async def nowhere(message):
        pass

    scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
    asyncio.run(AccessLogMiddleware(listen)(scope, gone, nowhere))
    (line,) = lines()
    assert (line["status"], line["disconnected"]) == (status, True)


def test_a_disconnect_after_the_answer_is_none(lines):
    async def answer_and_listen(scope, receive, send):
        await PlainTextResponse("hello")(scope, receive, send)
        await receive()

    request(answer_and_listen)
    assert "disconnected" not in lines()[0]


def test_libraries_log_in_the_same_format_and_never_at_debug():
    stream = io.StringIO()
    logs.configure("debug", "json", stream)
    for name in ("uvicorn.error", "connexion", "somebody.else"):
        logging.getLogger(name).debug("headers %s", SECRET)
        logging.getLogger(name).warning("from %s", name)
    found = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(line["logger"], line["event"], line["level"]) for line in found] == [
        ("uvicorn.error", "from uvicorn.error", "warning"),
        ("connexion", "from connexion", "warning"),
        ("somebody.else", "from somebody.else", "warning"),
    ]


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_tracebacks_show_no_values_of_variables(log_format):
    stream = io.StringIO()
    logs.configure("info", log_format, stream)

    def fail(key):
        raise RuntimeError("broken")

    try:
        fail(SECRET)
    except RuntimeError as error:
        structlog.get_logger().error("request crashed", exc_info=error)
        logging.getLogger("connexion").exception("request crashed")
    assert stream.getvalue().count("RuntimeError: broken") == 2
    assert SECRET not in stream.getvalue()


def test_the_console_shows_control_characters_escaped():
    stream = io.StringIO()
    logs.configure("info", "console", stream)
    structlog.get_logger().info("request", model="x\n\x1b[31mred")
    assert stream.getvalue().count("\n") == 1
    assert "\x1b" not in stream.getvalue()


def test_the_level_is_obeyed():
    stream = io.StringIO()
    logs.configure("error", "console", stream)
    structlog.get_logger().warning("ours")
    logging.getLogger("uvicorn.error").warning("theirs")
    assert stream.getvalue() == ""
