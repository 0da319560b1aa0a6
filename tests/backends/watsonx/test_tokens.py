"""IAM tokens: cached, renewed in time, by one renewal for all who wait."""

import asyncio

import pytest
from openai import AsyncOpenAI
from servers import running
from watsonx_cloud import CHAT, EMBED, running_cloud
from watsonx_models import chat, embed, model

from specserve.backends.errors import UpstreamRefused, UpstreamUnreachable
from specserve.backends.watsonx.tokens import Token, Tokens


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
        assert [await tokens.get() for _ in range(3)] == ["token-1"] * 3
        iam.now = 799
        assert await tokens.get() == "token-1"
        assert iam.asked == 1

    run(test)


def test_it_is_renewed_before_it_expires_while_it_is_still_given():
    async def test(iam):
        tokens = iam.tokens()
        await tokens.get()
        iam.now = 800
        iam.gate.clear()
        assert [await tokens.get() for _ in range(9)] == ["token-1"] * 9
        await settle()
        assert iam.asked == 2
        iam.gate.set()
        await settle()
        assert await tokens.get() == "token-2"
        assert iam.most_going == 1

    run(test)


def test_a_token_that_could_expire_on_its_way_is_not_given():
    async def test(iam):
        tokens = iam.tokens()
        await tokens.get()
        iam.now = 995
        assert await tokens.get() == "token-2"

    run(test)


def test_who_comes_while_there_is_none_waits_for_the_same():
    async def test(iam):
        tokens = iam.tokens()
        iam.gate.clear()
        waiting = [asyncio.create_task(tokens.get()) for _ in range(50)]
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
        assert await asyncio.gather(*(tokens.replace(rejected) for _ in range(50))) == ["token-2"] * 50
        assert await tokens.replace(rejected) == "token-2"  # late
        assert iam.asked == 2

    run(test)


def test_a_failure_reaches_all_who_wait_and_the_next_tries_again():
    async def test(iam):
        tokens = iam.tokens()
        iam.failure = UpstreamRefused("No.")
        failed = await asyncio.gather(*(tokens.get() for _ in range(9)), return_exceptions=True)
        assert {type(error) for error in failed} == {UpstreamRefused}
        assert iam.asked == 1
        iam.failure = None
        assert await tokens.get() == "token-2"

    run(test)


def test_a_renewal_that_fails_before_the_end_hurts_nobody_and_is_not_repeated_at_once():
    async def test(iam):
        tokens = iam.tokens()
        await tokens.get()
        iam.now, iam.failure = 800, UpstreamUnreachable("Down.")
        for _ in range(9):
            assert await tokens.get() == "token-1"
            await settle()
        assert iam.asked == 2
        iam.now, iam.failure = 900, None
        await tokens.get()
        await settle()
        assert await tokens.get() == "token-3"

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


def test_a_thousand_requests_while_tokens_expire_every_second():
    """One renewal a period, and none of it reaches the clients.

    The service takes a token for longer than IAM says: on a busy machine a request may be seconds on its way.
    """
    requests, at_once = 1000, 10
    with running_cloud(token_lifetime=6, says_lifetime=1, iam_delay=0.02) as cloud:  # noqa: SIM117  it needs its environ
        with running("--model", f"watsonx:{CHAT}", environ=cloud.environ()) as server:

            async def ask_all():
                queue = iter(range(requests))
                async with AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:

                    async def ask():
                        for number in queue:
                            said = [{"role": "user", "content": f"{number}"}]
                            if number % 2:
                                answer = await client.chat.completions.create(model=CHAT, messages=said)
                                assert answer.choices[0].message.content == f"{number}"
                            else:
                                stream = await client.chat.completions.create(model=CHAT, messages=said, stream=True)
                                assert [chunk async for chunk in stream][-1].choices[0].finish_reason == "stop"

                    await asyncio.gather(*(ask() for _ in range(at_once)))

            asyncio.run(ask_all())
    assert len(cloud.asked) == requests
    assert cloud.most_renewing == 1
    assert len(cloud.renewals) > 2
    # A token is renewed when four fifths of its second are over. How long the request for it travels is chance.
    periods = (cloud.renewals[-1] - cloud.renewals[0]) / 0.8
    assert len(cloud.renewals) <= periods + 2, "more than one renewal in a period"
