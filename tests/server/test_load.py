"""Many streams on a real model, and clients that leave."""

import asyncio
import json

import httpx
import pytest
from lives import until
from servers import CHAT, running

STREAMS = 200
CUT = 50


def body(i, tokens):
    return {
        "model": CHAT,
        "messages": [{"role": "user", "content": f"Tell me a story about the number {i}."}],
        "max_tokens": tokens,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


async def stream(client, i, *, tokens, leave_after=None):
    """Read one stream; returns (events, usage), or leaves after some events as a client that is closed does."""
    events, usage = [], None
    async with client.stream("POST", "/v1/chat/completions", json=body(i, tokens)) as response:
        assert response.status_code == 200, await response.aread()
        async for line in response.aiter_lines():
            if not line.startswith("data: "):
                continue
            events.append(line.removeprefix("data: "))
            if leave_after is not None and len(events) >= leave_after:
                return events, None
    assert events[-1] == "[DONE]"
    usage = json.loads(events[-2])["usage"]
    return events, usage


@pytest.fixture(scope="module")
def busy_server():
    with running("--max-concurrent-requests", "64", "--max-queued-requests", "200") as server:
        yield server


def test_two_hundred_streams_complete_and_fifty_cut_off_leave_nothing_running(busy_server):
    async def run():
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=busy_server.url, timeout=240, limits=limits, trust_env=False) as client:
            leavers = [stream(client, i, tokens=1500, leave_after=3 + i % 5) for i in range(CUT)]
            stayers = [stream(client, i, tokens=24) for i in range(CUT, STREAMS)]
            return await asyncio.gather(*leavers, *stayers)

    results = asyncio.run(run())
    assert all(usage["completion_tokens"] == 24 for _, usage in results[CUT:])
    assert len({json.loads(events[0])["id"] for events, _ in results}) == STREAMS
    assert until(lambda: busy_server.health()["num_requests_running"] == 0), busy_server.health()
    assert busy_server.health()["num_requests_waiting"] == 0


def test_a_full_queue_refuses_at_once_and_the_rest_complete(tmp_path):
    with running("--max-concurrent-requests", "2", "--max-queued-requests", "3") as server:

        async def run():
            async with httpx.AsyncClient(base_url=server.url, timeout=120, trust_env=False) as client:
                ask = [client.post("/v1/chat/completions", json=body(i, 30)) for i in range(12)]
                return await asyncio.gather(*ask)

        answers = asyncio.run(run())
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [200] * 5 + [429] * 7
    for answer in answers:
        if answer.status_code == 429:
            assert int(answer.headers["retry-after"]) >= 1
            assert answer.json()["error"]["code"] == "server_overloaded"


@pytest.mark.parametrize("streamed", [True, False])
def test_a_client_that_leaves_frees_its_generation(busy_server, streamed):
    request = {**body(1, 1500), "stream": streamed}
    if not streamed:
        del request["stream_options"]
    # Of a stream the first event is waited for, however busy the machine; a plain answer is given up on purpose.
    timeout = httpx.Timeout(30, read=30 if streamed else 1.0)
    with httpx.Client(base_url=busy_server.url, trust_env=False, timeout=timeout) as client:
        try:
            with client.stream("POST", "/v1/chat/completions", json=request) as response:
                lines = response.iter_lines()  # kept: the connection closes with it
                next(lines)
                # What the engine told of its step may be from before it took this one.
                assert until(lambda: busy_server.health()["num_requests_running"] == 1)
        except httpx.ReadTimeout:
            assert not streamed
    assert until(lambda: busy_server.health()["num_requests_running"] == 0)


def test_a_client_that_leaves_the_queue_gives_up_its_place():
    with running("--max-concurrent-requests", "1", "--max-queued-requests", "1") as server:

        async def run():
            async with httpx.AsyncClient(base_url=server.url, timeout=60, trust_env=False) as client:
                first = asyncio.create_task(client.post("/v1/chat/completions", json=body(1, 200)))
                await asyncio.sleep(0.3)
                waiting = asyncio.create_task(client.post("/v1/chat/completions", json=body(2, 5)))
                await asyncio.sleep(0.3)
                waiting.cancel()
                await asyncio.gather(waiting, return_exceptions=True)
                await asyncio.sleep(0.3)
                third = await client.post("/v1/chat/completions", json=body(3, 5))
                return (await first).status_code, third.status_code

        assert asyncio.run(run()) == (200, 200)
