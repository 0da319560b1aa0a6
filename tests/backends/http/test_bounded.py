"""What we rely on in the HTTP library's inside, and the bounds that it gives."""

import asyncio

import pytest
from stand_in import plain, reply, standing_in

from specserve.backends.http.connections import ConnectionFailed, Connections

HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n"


def fetched(*parts, endless=b""):
    """The answer to one request to a server that sends these bytes, or the error."""

    async def send(_request, writer):
        for part in parts:
            writer.write(part)
            await writer.drain()
        while endless:
            writer.write(endless)
            await writer.drain()

    async def run():
        async with standing_in(send) as seen:
            connections = Connections(headers={}, connect_timeout=60)
            try:
                async with await connections.request("GET", f"{seen.url}/x", within=60, total=60) as answer:
                    return answer.status, await answer.read_all(100, 60)
            except ConnectionFailed as error:
                return error
            finally:
                await connections.close()

    return asyncio.run(run())


def test_a_head_after_a_few_interim_ones_is_read():
    assert fetched(b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n" * 3, HEAD + b"\r\n{}") == (200, b"{}")


@pytest.mark.parametrize(
    "endless",
    [
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 102 Processing\r\nx: y\r\n\r\n" * 5000,
        b"x: y\r\n",
        b"x" * 1000,
        b"HTTP/1.1 200 " + b"x" * 100_000,
    ],
)
def test_a_head_without_end_is_refused(endless):
    begin = b"" if endless.startswith(b"HTTP") else b"HTTP/1.1 200 OK\r\n"
    error = fetched(begin, endless=endless)
    assert isinstance(error, ConnectionFailed)
    assert not error.timeout


def test_a_head_of_many_lines_within_the_bounds_is_read_with_the_body_that_came_with_it():
    lines = b"".join(b"x-%d: %s\r\n" % (at, b"y" * 400) for at in range(100))
    assert fetched(HEAD + lines + b"\r\n{}") == (200, b"{}")
    assert isinstance(fetched(HEAD + lines * 2 + b"\r\n{}"), ConnectionFailed)


def test_bounds_hold_for_each_answer_of_a_connection_anew():
    async def run():
        opened = set()

        async def noting(request, writer):
            opened.add(writer)
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n" * 9)
            await reply(plain())(request, writer)

        async with standing_in(noting) as seen:
            connections = Connections(headers={}, connect_timeout=60)
            for _ in range(5):
                async with await connections.request("GET", f"{seen.url}/x", within=60, total=60) as answer:
                    assert answer.status == 200
                    await answer.read_all(10_000, 60)
            await connections.close()
            return len(opened)

    assert asyncio.run(run()) == 1
