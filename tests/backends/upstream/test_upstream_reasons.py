"""Why an upstream failed reaches the client, in whatever shape it was said, with the right status."""

import asyncio
import json

import pytest
from stand_in import ask, chat, chunk, complete, embed, good, plain, relaying, reply, standing_in, stream

from specserve.backends.http.reasons import find_reason, text_of
from specserve.spec.errors import UpstreamBreach

NGINX = (
    "<html>\r\n<head><title>413 Request Entity Too Large</title></head>\r\n<body>\r\n<center><h1>413 Request Entity "
    "Too Large</h1></center>\r\n<hr><center>nginx/1.25.3</center>\r\n</body>\r\n</html>\r\n"
)
BODIES = [
    [{"error": {"code": 400, "message": "reason", "status": "INVALID_ARGUMENT"}}],
    {"error": {"code": 400, "message": "reason", "status": "INVALID_ARGUMENT"}},
    {"error": "reason"},
    {"error": {"error": {"message": "reason"}}},
    {"error": {"message": None, "type": "x", "param": None, "code": None, "detail": "reason"}},
    {"error": {"message": json.dumps({"error": {"message": "reason"}})}},
    {"error": ["reason"]},
    {"errors": [{"message": "reason", "code": "x"}]},
    {"errors": "reason"},
    {"detail": "reason"},
    {"detail": {"message": "reason"}},
    {"detail": {"error": {"message": "reason"}}},
    {"detail": [{"loc": ["body", "n"], "msg": "reason", "type": "x"}]},
    {"detail": ["reason"]},
    {"message": "reason"},
    {"message": {"content": "reason", "error": "reason"}},
    {"msg": "reason"},
    {"reason": "reason"},
    {"Message": "reason"},
    {"error_message": "reason"},
    {"title": "reason", "status": 400, "type": "about:blank"},
    {"object": "error", "message": "reason", "code": 400},
    {"status": "error", "error": {"description": "reason"}},
    "reason",
    '"reason"',
    "<!DOCTYPE html><html><head><style>x{}</style></head><body><p>reason</p></body></html>",
    "<h1>reason</h1><p>more</p>",
]


@pytest.mark.parametrize("body", BODIES)
def test_a_reason_is_found_in_every_shape(body):
    error = ask(reply(body, 400)).error
    assert error.status == 400
    assert error.message == "reason"
    assert ask(reply(body, 400), stream=True).error.message == "reason"


def test_a_page_gives_its_title_and_keeps_its_status():
    error = ask(reply(NGINX, 413, {"content-type": "text/html"})).error
    assert (error.status, error.message) == (413, "413 Request Entity Too Large")
    assert text_of(b"<html><title>a &amp; b\n\x00\x1b[31m</title>") == "a & b [31m"


@pytest.mark.parametrize("body", [b"\xff\xfe", b"", b"null", b"{}", b"[]", b"[[[[[[[[[[1]]]]]]]]]]", b"\x1f\x8b\x08"])
def test_bytes_that_say_nothing_give_no_reason(body):
    error = ask(reply(body, 400)).error
    assert (error.status, error.message) == (400, "The server that runs this model failed without a reason.")


def test_hostile_pages_and_errors_are_read_in_no_time():
    for body in ("<html>" + "<title" * 9000, "<html>" + "<script>" * 8000, "<!doctype" + "<" * 60000):
        assert len(text_of(body.encode())) <= 1000
    deep = {}
    for _ in range(500):
        deep = {"error": deep, "detail": [deep]}
    assert find_reason(deep) == {}


EVENTS = [
    ({"object": "error", "message": "reason", "code": 400}, 400),
    ({"detail": "reason"}, 502),
    (b'event: error\ndata: {"message":"reason"}\n\n', 502),
    (b'event: error\ndata: {"message":"reason","code":"429"}\n\n', 429),
    (b"event: error\ndata: reason\n\n", 502),
    ({"type": "error", "error": {"type": "overloaded_error", "message": "reason"}}, 503),
    ([{"error": {"code": 400, "message": "reason", "status": "INVALID_ARGUMENT"}}], 400),
    ({"error": {"message": "reason", "status": "RESOURCE_EXHAUSTED"}}, 429),
    ({"error": {"message": "reason", "code": "4" * 5000}}, 502),
    ({"error": {"message": "reason", "code": "context_length_exceeded"}}, 400),
    ({"message": "reason", "statusCode": 422}, 400),
    ({**chunk({"content": ""}, "error"), "error": {"code": 400, "message": "reason"}}, 400),
    ({**chunk(), "choices": [{"index": 0, "delta": {}, "error": {"message": "reason"}}]}, 502),
]  # fmt: skip


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize(("event", "status"), EVENTS)
def test_an_error_in_a_stream_keeps_its_reason_and_its_status(event, status, begun):
    async def run():
        async with standing_in(stream(*good("hi")[: 2 * begun], event)) as seen, relaying(seen) as backend:
            return await chat(backend, stream=True), len(seen.requests)

    outcome, asked = asyncio.run(run())
    assert outcome.error.message == "reason"
    assert outcome.error.status == status
    assert len(outcome.events) == 2 * begun
    assert asked == (3 if status >= 429 and not begun else 1)


@pytest.mark.parametrize("operation", [chat, complete, embed])
@pytest.mark.parametrize("body", [{"detail": "reason"}, {"object": "error", "message": "reason", "code": 400}])
def test_an_error_with_status_200_is_one(operation, body):
    error = ask(reply(body), operation=operation).error
    assert error.message == "reason"
    assert error.status == body.get("code", 502)


@pytest.mark.parametrize("status", [202, 205, 206, 226, 299])
def test_a_status_that_promises_no_whole_answer_is_a_breach(status):
    error = ask(reply(plain(), status)).error
    assert isinstance(error, UpstreamBreach)
    assert str(status) in error.message
    error = ask(reply({"error": "reason"}, status), stream=True).error
    assert (error.status, error.message) == (502, "reason")


@pytest.mark.parametrize("header", ["9" * 5000, "9" * 20, "²", "1e400", "Mon, 01 Jan 99999999999 00:00:00 GMT", "Mon"])
def test_a_retry_after_that_makes_no_sense_is_none(header):
    error = ask(reply({"error": "reason"}, 429, {"retry-after": header.encode().decode("latin-1")})).error
    assert (error.status, error.retry_after) == (429, None)
