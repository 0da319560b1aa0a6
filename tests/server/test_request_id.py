import asyncio
import re

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse

from specserve.http.request_id import RequestIdMiddleware


async def say_id(scope, receive, send):
    request = Request(scope)
    headers = {"x-request-id": "set-by-the-application"} if request.url.path == "/own" else {}
    await PlainTextResponse(request.state.request_id, headers=headers)(scope, receive, send)


def get(path, app=RequestIdMiddleware(say_id), **options):  # noqa: B008  it keeps nothing between calls
    async def fetch():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server") as client:
            return await client.get(path, **options)

    return asyncio.run(fetch())


def test_a_request_without_an_id_gets_one_of_ours():
    response = get("/")
    assert re.fullmatch(r"req_[0-9a-f]{32}", response.headers["x-request-id"])
    assert response.text == response.headers["x-request-id"]


def test_ids_of_ours_are_unique():
    assert len({get("/").text for _ in range(50)}) == 50


@pytest.mark.parametrize("own", ["a", "b7f0-11", "trace:00.1_x", "x" * 128])
def test_a_sane_id_of_the_client_is_kept(own):
    response = get("/", headers={"X-Request-ID": own})
    assert response.text == own
    assert response.headers["x-request-id"] == own


@pytest.mark.parametrize("own", ["", "x" * 129, "two words", "semi;colon", b"caf\xc3\xa9", b"\xff"])
def test_an_odd_id_of_the_client_is_replaced(own):
    response = get("/", headers={"X-Request-ID": own})
    assert response.headers["x-request-id"].startswith("req_")


def test_the_header_stands_once_even_if_the_application_sets_it_too():
    response = get("/own", headers={"X-Request-ID": "mine"})
    assert response.headers.get_list("x-request-id") == ["mine"]


def test_the_state_of_the_lifespan_is_not_written_to():
    shared = {"registry": object()}

    async def with_state(scope, receive, send):
        await RequestIdMiddleware(say_id)({**scope, "state": shared}, receive, send)

    get("/", with_state)
    assert list(shared) == ["registry"]
