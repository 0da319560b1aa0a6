"""Attempts, timeouts, several addresses, and clients that leave."""

import asyncio
import time
from contextlib import aclosing

import pytest
from stand_in import (
    CALL,
    chat,
    chat_request,
    chunk,
    either,
    embed,
    good,
    hang,
    plain,
    relaying,
    reply,
    reset,
    standing_in,
    stream,
)

from specserve.spec.errors import UpstreamTimeout, UpstreamUnreachable

BUSY = reply({"error": {"message": "Busy.", "type": "server_error", "param": None, "code": None}}, 503)
WELL = reply(plain())
QUICK = {"max_retry_delay": 0.05}


def attempts(*answers, retries=2, options=None, **body):
    """The outcome, and how often the stand-in was asked."""

    async def run():
        async with (
            standing_in(*answers) as seen,
            relaying(seen, max_retries=retries, **{**QUICK, **(options or {})}) as backend,
        ):
            return await chat(backend, **body), len(seen.requests)

    return asyncio.run(run())


async def until(condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        await asyncio.sleep(0.005)
    return condition()


def unused_url():
    return "http://127.0.0.1:1/v1"


@pytest.mark.parametrize("failure", [BUSY, reset, stream({"error": "x"}), stream(done=False, cut=True)])
@pytest.mark.parametrize("streamed", [True, False])
def test_a_failure_before_the_first_byte_is_followed_by_another_attempt(failure, streamed):
    well = stream(*good("hello")) if streamed else WELL
    failure = BUSY if not streamed and failure.__qualname__.startswith("stream.") else failure
    outcome, asked = attempts(failure, failure, well, stream=streamed)
    assert outcome.error is None
    assert asked == 3
    outcome, asked = attempts(failure, failure, well, stream=streamed, retries=1)
    assert outcome.error is not None
    assert asked == 2


def test_a_plain_answer_that_breaks_off_is_asked_for_again():
    half = reply(b'{"id":', headers={"content-length": "1000", "connection": "close"})

    async def cut(request, writer):
        await half(request, writer)
        writer.close()

    outcome, asked = attempts(cut, WELL)
    assert outcome.error is None
    assert asked == 2


@pytest.mark.parametrize("status", [400, 401, 404, 413])
def test_what_will_not_get_better_is_not_tried_again(status):
    _, asked = attempts(reply({"error": "x"}, status), WELL)
    assert asked == 1


def test_after_the_first_byte_there_is_no_other_attempt():
    outcome, asked = attempts(stream(*good("hello")[:2], done=False, cut=True), stream(*good("hello")), stream=True)
    assert isinstance(outcome.error, UpstreamUnreachable)
    assert len(outcome.events) == 2
    assert asked == 1


def test_retry_after_is_waited_for_if_it_is_short_and_passed_on_if_it_is_long():
    busy = reply({"error": "x"}, 429, {"retry-after": "1"})
    began = time.monotonic()
    outcome, asked = attempts(busy, WELL, options={"max_retry_delay": 1.0})
    assert time.monotonic() - began >= 1
    assert (outcome.error, asked) == (None, 2)
    outcome, asked = attempts(busy, WELL)
    assert (outcome.error.status, outcome.error.retry_after, asked) == (429, 1, 1)


@pytest.mark.parametrize("streamed", [True, False])
def test_an_upstream_that_does_not_begin_in_time_is_a_timeout(streamed):
    outcome, asked = attempts(hang, options={"first_byte_timeout": 0.1, "connect_timeout": 0.1}, stream=streamed)
    assert isinstance(outcome.error, UpstreamTimeout)
    assert (outcome.error.status, asked) == (504, 1)


def test_a_stream_that_stands_still_or_never_says_anything_is_a_timeout():
    outcome, _ = attempts(stream(end=False, done=False), options={"first_byte_timeout": 0.1}, stream=True)
    assert isinstance(outcome.error, UpstreamTimeout)
    paused = stream(*good("hello")[:2], end=False, done=False)
    outcome, _ = attempts(paused, options={"idle_timeout": 0.1}, stream=True)
    assert isinstance(outcome.error, UpstreamTimeout)
    assert len(outcome.events) == 2
    endless = stream(good()[0], *[chunk({"content": "x"})] * 1000, pause=0.02)
    outcome, _ = attempts(endless, options={"total_timeout": 0.3}, stream=True)
    assert isinstance(outcome.error, UpstreamTimeout)
    assert outcome.events


def test_an_address_where_nobody_listens_is_unreachable_and_stops_no_start():
    async def run():
        async with relaying(unused_url(), **QUICK) as backend:
            return await chat(backend), await embed(backend)

    for outcome in asyncio.run(run()):
        assert isinstance(outcome.error, UpstreamUnreachable)
        assert "127.0.0.1" not in outcome.error.message


def test_the_least_busy_address_is_chosen():
    async def run():
        slow = stream(*good("hello"), pause=0.05)
        async with standing_in(slow) as first, standing_in(slow) as second, relaying(first, second) as backend:
            outcomes = await asyncio.gather(*(chat(backend, stream=True) for _ in range(10)))
            assert all(outcome.error is None for outcome in outcomes)
            return len(first.requests), len(second.requests)

    assert asyncio.run(run()) == (5, 5)


def test_a_failed_address_is_taken_out_and_comes_back_after_a_probe():
    async def run():
        options = {"probe_interval": 0.05, "max_retries": 0}
        async with (
            standing_in(WELL) as first,
            standing_in(WELL) as second,
            relaying(unused_url(), first, second, **options) as backend,
        ):
            dead, *well = backend._pool.endpoints
            assert not dead.healthy, "the start has probed it"
            assert all(endpoint.healthy for endpoint in well)
            for _ in range(6):
                assert (await chat(backend)).error is None
            assert dead.last_used == 0
            second.models = None
            assert await until(lambda: not well[1].healthy)
            asked = len(second.requests)
            assert (await chat(backend)).error is None
            assert (await chat(backend)).error is None
            assert len(second.requests) == asked
            second.models = {"data": []}
            assert await until(lambda: well[1].healthy)
            assert second.probes >= 3

    asyncio.run(run())


def test_an_address_that_is_down_costs_no_attempt():
    async def run():
        async with standing_in(WELL) as well, relaying(unused_url(), well, max_retries=0, probe_interval=60) as backend:
            backend._pool.endpoints[0].healthy = True
            outcome = await chat(backend)
            assert outcome.error is None
            assert not backend._pool.endpoints[0].healthy

    asyncio.run(run())


def test_one_that_fails_at_once_does_not_draw_all_requests():
    async def run():
        broken = reply({"error": "x"}, 500)
        slow = stream(*good("hello"), pause=0.02)
        async with (
            standing_in(broken) as first,
            standing_in(slow) as second,
            relaying(first, second, probe_interval=60) as backend,
        ):
            outcomes = await asyncio.gather(*(chat(backend, stream=True) for _ in range(8)))
            outcomes += [await chat(backend, stream=True) for _ in range(8)]
            assert all(outcome.error is None for outcome in outcomes)
            return len(first.requests)

    assert asyncio.run(run()) <= 8


def test_all_addresses_down_is_no_reason_not_to_try():
    async def run():
        async with standing_in(WELL) as one, relaying(one, probe_interval=60) as backend:
            backend._pool.endpoints[0].healthy = False
            assert (await chat(backend)).error is None
            assert backend._pool.endpoints[0].healthy

    asyncio.run(run())


def test_one_that_asks_to_be_left_alone_is_left_alone_while_there_is_another():
    async def run():
        busy = reply({"error": "x"}, 429, {"retry-after": "60"})
        async with standing_in(busy) as first, standing_in(WELL) as second, relaying(first, second) as backend:
            outcomes = [await chat(backend) for _ in range(6)]
            assert all(outcome.error is None for outcome in outcomes)
            return len(first.requests), len(second.requests)

    assert asyncio.run(run()) == (1, 6)


@pytest.mark.parametrize("streams", [False, True])
def test_a_client_that_leaves_closes_the_connection_to_the_upstream(streams):
    answer = stream(*good("hello")[:2], end=False, done=False) if streams else hang

    async def run():
        async with standing_in(answer) as seen, relaying(seen) as backend:
            request = chat_request(stream=streams)

            async def read():
                async with aclosing(backend.chat(request, CALL)) as items:
                    async for _ in items:
                        pass

            readers = [asyncio.create_task(read()) for _ in range(200)]
            assert await until(lambda: len(seen.requests) == 200), len(seen.requests)
            assert backend.activity().running == 200
            for reader in readers:
                reader.cancel()
            await asyncio.gather(*readers, return_exceptions=True)
            assert backend.activity().running == 0
            # The one that is left was opened by the probe at start, and waits for the next request.
            assert await until(lambda: seen.open <= 1), seen.open

    asyncio.run(run())


def test_connections_are_used_again():
    async def run():
        opened = set()

        async def noting(request, writer):
            opened.add(writer)
            await either(WELL, stream(*good("hello")))(request, writer)

        async with standing_in(noting) as seen, relaying(seen) as backend:
            for streamed in (True, False) * 5:
                assert (await chat(backend, stream=streamed)).error is None
                await asyncio.sleep(0.01)
        return len(opened)

    assert asyncio.run(run()) == 1


def test_a_connection_that_the_upstream_closed_meanwhile_costs_nobody_a_request():
    async def once(request, writer):
        await WELL(request, writer)
        writer.close()

    async def run():
        async with standing_in(once) as seen, relaying(seen, max_retries=1) as backend:
            outcomes = [await chat(backend) for _ in range(8)]
            return [outcome.error for outcome in outcomes]

    assert asyncio.run(run()) == [None] * 8


def test_of_two_upstreams_one_may_be_killed_under_load():
    async def run():
        slow = either(WELL, stream(*good("he", "llo"), pause=0.05))
        async with standing_in(slow) as first, standing_in(slow) as second, relaying(first, second) as backend:
            tasks = [asyncio.create_task(chat(backend, stream=at % 3 > 0)) for at in range(60)]
            assert await until(lambda: len(second.requests) > 20)
            await asyncio.sleep(0.06)
            await second.stop()
            tasks += [asyncio.create_task(chat(backend, stream=at % 3 > 0)) for at in range(60)]
            return await asyncio.gather(*tasks)

    outcomes = asyncio.run(run())
    assert not [outcome.error for outcome in outcomes if outcome.error and not outcome.data]
    assert any(outcome.error and outcome.data for outcome in outcomes), "the one that was killed was amid some streams"
