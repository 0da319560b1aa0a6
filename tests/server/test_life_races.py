"""Loading, unloading, asking, leaving and reloading, all at once; and fifty loads and unloads under requests."""

import asyncio
import os
import random
import signal
from collections import Counter

import pytest
from cycles import REAL, levels
from lives import ADMIN, Lives, body, content, until
from servers import CHAT, running

STEPS = 150
SHORT = 50
MODELS = ("a", "b", "c", "d")


@pytest.mark.parametrize("bounds", [{"max_loaded_models": 2}, {"max_memory_mb": 250}], ids=min)
def test_whatever_happens_at_once_every_request_gets_its_answer_and_nothing_is_left_over(tmp_path, bounds):
    lives = Lives(tmp_path)
    dice = random.Random(20261121)
    table = {"load": "request", "memory_mb": 100, "options": {"tokens_per_second": 200}}
    every = [{"id": name, **table} for name in MODELS]
    every[0] |= {"unload_after_seconds": 0.05}
    outcomes = Counter()

    async def ask(client, name):
        text = f"{name} {'x' * dice.randrange(40)}"
        answer = await client.post("/v1/chat/completions", json=body(name, text))
        if answer.status_code == 200:
            assert content(answer) == text
        outcomes["ask", answer.status_code, answer.status_code != 200 and answer.json()["error"]["code"]] += 1

    async def stream(client, name, most=None):
        said = []
        async with client.stream("POST", "/v1/chat/completions", json=body(name, "y" * 30, stream=True)) as response:
            async for line in response.aiter_lines():
                said.append(line)
                if most is not None and len(said) > most:
                    return
        if response.status_code == 200:
            assert said[-2] == "data: [DONE]", said
        outcomes["stream", response.status_code] += 1

    async def leave(client, name):
        request = asyncio.create_task(client.post("/v1/chat/completions", json=body(name, "z" * 60)))
        await asyncio.sleep(dice.random() / 20)
        request.cancel()
        await asyncio.gather(request, return_exceptions=True)

    async def change(client, name, verb):
        answer = await client.post(f"/v1/models/{name}/{verb}", headers=ADMIN)
        outcomes[verb, answer.status_code] += 1

    def reload(here):
        # The last model comes and goes, the one before it gets another engine.
        models = every[: 4 if here else 3]
        models[2] = {**models[2], "options": {"tokens_per_second": dice.choice([150, 250])}}
        lives.write(*models, **bounds)
        os.kill(lives.server.process.pid, signal.SIGHUP)

    async def run():
        async with lives.client() as client:
            tasks = []
            for step in range(STEPS):
                name = dice.choice(MODELS)
                act = dice.random()
                if act < 0.45:
                    tasks.append(asyncio.create_task(ask(client, name)))
                elif act < 0.6:
                    tasks.append(asyncio.create_task(stream(client, name)))
                elif act < 0.7:
                    tasks.append(asyncio.create_task(stream(client, name, most=dice.randrange(5))))
                elif act < 0.8:
                    tasks.append(asyncio.create_task(leave(client, name)))
                elif act < 0.88:
                    tasks.append(asyncio.create_task(change(client, name, "load")))
                elif act < 0.97:
                    tasks.append(asyncio.create_task(change(client, name, "unload")))
                else:
                    reload(dice.random() < 0.5)
                if step % 4 == 0:
                    await asyncio.sleep(dice.random() / 30)
            await asyncio.gather(*tasks)

    with lives.running(*every, **bounds):
        asyncio.run(run())
        # Nothing but a model that was not configured at that moment may be refused.
        assert {key for key in outcomes if key[1] != 200} <= {
            ("ask", 404, "model_not_found"),
            *((what, 404) for what in ("stream", "load", "unload")),
        }, outcomes
        assert outcomes["ask", 200, False] > STEPS / 4
        for name in MODELS:
            lives.change(name, "unload")
        assert until(lambda: lives.server.health()["num_requests_running"] == 0)
        health = lives.server.health()
        assert health["num_requests_waiting"] == 0
        assert health["models"]["unloaded"] == sum(health["models"].values())
        assert until(lambda: all(loads == unloads for loads, unloads in map(lives.loads, MODELS)))
        assert not lives.said("Traceback")


def test_fifty_loads_and_unloads_lose_no_request_and_no_memory():
    with running("--model", "echo", "--admin-key", "sk-admin") as server:
        seen, _ = levels(server, "echo", SHORT, "hello")
        assert seen[-1] <= seen[0] * 1.1, seen


@pytest.mark.timeout(600 + 30 * REAL)
def test_a_real_model_comes_and_goes_under_requests_and_leaves_no_memory_behind():
    with running("--model", CHAT, "--admin-key", "sk-admin") as server:
        seen, requests = levels(server, CHAT, REAL, "Say hello.")
        print(f"{REAL} cycles, {requests} requests, MB after each: {[round(level / 1e6) for level in seen]}")  # noqa: T201
        assert seen[-1] <= seen[0] * 1.1, seen
