"""Loads and unloads of a model under requests, again and again, and what the server's memory is after each."""

import asyncio
import os
from collections import Counter

import httpx
import psutil
from lives import ADMIN, body

REAL = int(os.environ.get("SPECSERVE_TEST_CYCLES", "3"))


def memory(server):
    """Resident bytes of a server and all its children."""
    process = psutil.Process(server.process.pid)
    return sum(each.memory_info().rss for each in [process, *process.children(recursive=True)])


async def cycle(client, model, count, ask, seen):
    """Unload and load a model again and again while requests come; returns what came of those, all of them."""
    answers, go, over = [], asyncio.Event(), False

    async def keep_asking():
        while not over:
            await go.wait()
            answers.append(await ask())

    asking = [asyncio.create_task(keep_asking()) for _ in range(4)]
    for _ in range(count):
        go.set()
        for verb in ("unload", "load"):
            answer = await client.post(f"/v1/models/{model}/{verb}", headers=ADMIN)
            assert answer.status_code == 200, answer.text
        # A new engine's memory grows with the requests that it has at once, so each is looked at after the same ones.
        go.clear()
        answers += await asyncio.gather(*(ask() for _ in range(8)))
        seen()
    over = True
    go.set()
    await asyncio.gather(*asking)
    return answers


def levels(server, model, count, text):
    """Cycle a model, and look at the memory after each cycle."""
    seen = []

    async def run():
        async with httpx.AsyncClient(base_url=server.url, timeout=300, trust_env=False) as client:

            async def ask():
                request = body(model, text, max_tokens=16)
                return (await client.post("/v1/chat/completions", json=request)).status_code

            return await cycle(client, model, count, ask, lambda: seen.append(memory(server)))

    statuses = asyncio.run(run())
    assert set(statuses) == {200}, Counter(statuses)
    assert len(statuses) >= count
    return seen, len(statuses)
