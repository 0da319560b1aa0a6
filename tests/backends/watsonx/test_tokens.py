"""IAM tokens: cached, renewed in time, by one renewal for all who wait."""

import asyncio
import os
from itertools import count, takewhile

import httpx
import pytest
from openai import AsyncOpenAI
from servers import running
from watsonx_cloud import CHAT, EMBED, running_cloud
from watsonx_models import chat, embed, model

from specserve.backends.watsonx.tokens import Token, Tokens
from specserve.spec.errors import UpstreamRefused, UpstreamUnreachable

REQUESTS = int(os.environ.get("SPECSERVE_TEST_TOKEN_REQUESTS", "200"))


class Iam:
    """Gives tokens that live for 1000 seconds of its own clock."""

    def __init__(self):
        self.now = 0.0
        self.asked = 0
        self.going = self.most_going = 0
        self.failure = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def fetch(self):
        self.asked += 1
        number = self.asked
        self.going += 1
        self.most_going = max(self.going, self.most_going)
        try:
            await self.gate.wait()
            if self.failure:
                raise self.failure
            return Token(f"token-{number}", 1000)
        finally:
            self.going -= 1

    def tokens(self):
        return Tokens(self.fetch, clock=lambda: self.now)


async def given(tokens):
    return (await tokens.get()).value


async def instead(tokens, rejected):
    return (await tokens.replace(rejected)).value


def run(test):
    async def go():
        await test(Iam())

    asyncio.run(go())


async def settle():
    for _ in range(5):
        await asyncio.sleep(0)


def test_a_token_is_fetched_once_and_kept():
    async def test(iam):
        tokens = iam.tokens()
        assert [await given(tokens) for _ in range(3)] == ["token-1"] * 3
        iam.now = 799
        assert await given(tokens) == "token-1"
        assert iam.asked == 1

    run(test)


def test_it_is_renewed_before_it_expires_while_it_is_still_given():
    async def test(iam):
        tokens = iam.tokens()
        await tokens.get()
        iam.now = 800
        iam.gate.clear()
        assert [await given(tokens) for _ in range(9)] == ["token-1"] * 9
        await settle()
        assert iam.asked == 2
        iam.gate.set()
        await settle()
        assert await given(tokens) == "token-2"
        assert iam.most_going == 1

    run(test)


def test_a_token_that_could_expire_on_its_way_is_not_given():
    async def test(iam):
        tokens = iam.tokens()
        await tokens.get()
        iam.now = 995
        assert await given(tokens) == "token-2"

    run(test)


def test_who_comes_while_there_is_none_waits_for_the_same():
    async def test(iam):
        tokens = iam.tokens()
        iam.gate.clear()
        waiting = [asyncio.create_task(given(tokens)) for _ in range(50)]
        await settle()
        waiting[0].cancel()  # the one who began it goes away
        await settle()
        iam.gate.set()
        assert await asyncio.gather(*waiting[1:]) == ["token-1"] * 49
        assert iam.asked == 1

    run(test)


def test_many_rejections_of_one_token_cause_one_renewal():
    async def test(iam):
        tokens = iam.tokens()
        rejected = await tokens.get()
        assert await asyncio.gather(*(instead(tokens, rejected) for _ in range(50))) == ["token-2"] * 50
        assert await instead(tokens, rejected) == "token-2"  # late
        assert iam.asked == 2

    run(test)


def test_a_failure_reaches_all_who_wait_and_one_tries_again_after_a_pause():
    async def test(iam):
        tokens = iam.tokens()
        iam.failure = UpstreamRefused("No.")
        failed = await asyncio.gather(*(tokens.get() for _ in range(9)), return_exceptions=True)
        assert {type(error) for error in failed} == {UpstreamRefused}
        assert iam.asked == 1
        iam.now, iam.failure = 2, None
        assert await given(tokens) == "token-2"

    run(test)


def test_while_iam_is_down_it_is_asked_ever_more_rarely():
    async def test(iam):
        tokens = iam.tokens()
        iam.failure = UpstreamUnreachable("Down.")
        asked = []
        for now in range(600):
            iam.now = now
            with pytest.raises(UpstreamUnreachable, match="Down") as caught:
                await tokens.get()
            asked.append(iam.asked)
            assert caught.value.retry_after is None or 1 <= caught.value.retry_after <= 72
        assert 10 <= iam.asked <= 20, "a pause of a second, doubled up to a minute"
        iam.failure = None
        iam.now += 72
        assert await given(tokens) == f"token-{asked[-1] + 1}"
        iam.now, iam.failure = iam.now + 1000, UpstreamUnreachable("Down.")
        for _ in range(9):
            with pytest.raises(UpstreamUnreachable):
                await tokens.get()
        assert iam.asked == asked[-1] + 2
        iam.now, iam.failure = iam.now + 2, None
        assert await given(tokens), "the pauses begin anew"

    run(test)


def test_a_renewal_that_fails_before_the_end_hurts_nobody_and_is_not_repeated_at_once():
    async def test(iam):
        tokens = iam.tokens()
        await tokens.get()
        iam.now, iam.failure = 800, UpstreamUnreachable("Down.")
        for _ in range(9):
            assert await given(tokens) == "token-1"
            await settle()
        assert iam.asked == 2
        iam.now, iam.failure = 900, None
        await tokens.get()
        await settle()
        assert await given(tokens) == "token-3"

    run(test)


def test_models_with_one_key_share_their_token():
    async def ask_all():
        with running_cloud() as cloud:
            async with model(cloud) as one, model(cloud) as two, model(cloud, EMBED) as three:
                await asyncio.gather(chat(one), chat(two), embed(three, "geese"))
                assert len(cloud.renewals) == 1
            async with model(cloud) as again:  # all were stopped, so nothing was kept
                await chat(again)
            assert len(cloud.renewals) == 2

    asyncio.run(ask_all())


@pytest.mark.parametrize("stream", [False, True])
def test_a_401_causes_one_renewal_and_one_more_attempt(stream):
    async def ask_all():
        with running_cloud(iam_delay=0.05) as cloud:
            async with model(cloud) as backend:
                cloud.revoke()
                await asyncio.gather(*(chat(backend, stream=stream) for _ in range(20)))
                assert len(cloud.renewals) == 2
                assert len(cloud.asked) == 20
                cloud.token_lifetime = 0  # whatever IAM gives is rejected
                cloud.revoke()
                before = cloud.unauthorized
                with pytest.raises(UpstreamRefused):
                    await chat(backend, stream=stream)
                assert cloud.unauthorized - before == 2
                assert len(cloud.renewals) == 3

    asyncio.run(ask_all())


def test_tokens_that_expire_every_second_are_renewed_once_a_period_and_no_client_sees_it():
    """The service takes no token that is older than the one second that IAM says, and all is told by its own clock."""
    requests, clients = REQUESTS, 50
    with running_cloud(token_lifetime=1, iam_delay=0.02) as cloud:
        with running("--model", f"watsonx:{CHAT}", environ=cloud.environ()) as server:

            async def ask_all():
                # All of them, and for as long as it takes to see some periods.
                queue = takewhile(lambda number: number < requests or len(cloud.issued) < 5, count())
                async with AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
                    await asyncio.gather(*(ask(client, queue) for _ in range(clients)))

            async def ask(client, queue):
                for number in queue:
                    said = [{"role": "user", "content": f"{number}"}]
                    if number % 2:
                        answer = await client.chat.completions.create(model=CHAT, messages=said)
                        assert answer.choices[0].message.content == f"{number}"
                    else:
                        stream = await client.chat.completions.create(model=CHAT, messages=said, stream=True)
                        assert [chunk async for chunk in stream][-1].choices[0].finish_reason == "stop"

            asyncio.run(ask_all())
        old = min(cloud.tokens, key=cloud.tokens.get)
        refused = httpx.post(
            f"{cloud.url}/ml/v1/text/chat?version=2025-02-06",
            headers={"Authorization": f"Bearer {old}"},
            timeout=60,
            trust_env=False,
        )
    assert refused.status_code == 401
    assert len(cloud.asked) >= requests
    assert not cloud.refused
    said = f"{len(cloud.asked)} answers, {len(cloud.issued)} tokens in {cloud.issued[-1] - cloud.issued[0]:.1f} s"
    print(f"{said}, {cloud.unauthorized - 1} tokens expired on their way")  # noqa: T201  shown with -s
    assert all(asked >= issued for asked, issued in zip(cloud.renewals[1:], cloud.issued, strict=False)), "at once"
    # A token is asked for after the model was found in the list, and again when four fifths of its second are over.
    # So the tenth is never asked for before eight seconds, however long each request travels.
    (listed,) = cloud.listings
    early = [at for at, asked in enumerate(cloud.renewals) if asked - listed < 0.8 * at]
    assert not early, f"more than one renewal in a period: {cloud.renewals}"


def test_a_token_that_expires_on_its_way_is_replaced_as_often_as_that_happens():
    async def ask_all():
        with running_cloud(token_lifetime=0, says_lifetime=0.001) as cloud:
            async with model(cloud) as backend:
                with pytest.raises(UpstreamRefused):
                    await chat(backend)
                assert cloud.unauthorized == 5
                cloud.says_lifetime = 3600  # so it has not expired by our clock
                with pytest.raises(UpstreamRefused):
                    await chat(backend)
                assert cloud.unauthorized == 7

    asyncio.run(ask_all())
