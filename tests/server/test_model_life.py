"""Models that come and go: on request, by hand, for want of room, after an idle time; and models that fail."""

import asyncio
import json

import httpx
import pytest
from lives import ADMIN, Lives, become, body, content, until

SLOW = {"options": {"tokens_per_second": 25}}
LONG = "word " * 20  # 50 tokens of echo


@pytest.fixture
def apart(tmp_path):
    """For a server of the test's own."""
    return Lives(tmp_path)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    lives = Lives(tmp_path_factory.mktemp("lives"))
    with lives.running({"id": "nobody", "load": "manual"}):
        yield lives


@pytest.fixture
def lives(shared):
    """The server of this file, with nothing left of the test before."""
    shared.forget()
    return shared


async def stream_text(client, model, text=LONG, started=None):
    """Read a stream to its end; returns what it said."""
    said = ""
    async with client.stream("POST", "/v1/chat/completions", json=body(model, text, stream=True)) as response:
        assert response.status_code == 200, await response.aread()
        async for line in response.aiter_lines():
            if started is not None:
                started.set()
            if line == "data: [DONE]":
                return said
            if line.startswith("data: "):  # else a comment that keeps the connection alive
                event = json.loads(line.removeprefix("data: "))
                assert "error" not in event, event
                said += "".join(choice["delta"].get("content") or "" for choice in event["choices"])
    raise AssertionError("the stream broke off")


def test_a_model_is_loaded_once_for_all_who_ask_at_the_same_time(lives):
    lives.mood("late", hold=True)
    with lives.serving({"id": "late", "load": "request"}):
        assert lives.states() == {"late": "unloaded"}
        assert "capabilities" not in lives.model("late")

        async def ask():
            async with lives.client() as client:
                requests = [client.post("/v1/chat/completions", json=body("late", f"hello {i}")) for i in range(30)]
                asked = asyncio.gather(*requests)
                await become(lambda: lives.server.health()["models"]["loading"] == 1)
                await become(lambda: lives.server.health()["num_requests_waiting"] == 30)
                assert lives.server.health()["status"] == "loading"
                lives.mood("late")
                return await asked

        assert [content(answer) for answer in asyncio.run(ask())] == [f"hello {i}" for i in range(30)]
        assert lives.loads("late") == (1, 0)
        assert lives.server.health()["models"] == {
            "unloaded": 0,
            "loading": 0,
            "loaded": 1,
            "unloading": 0,
            "failed": 0,
        }
        model = lives.model("late")
        assert model["state"] == "loaded"
        assert "createChatCompletion" in model["capabilities"]["operations"]


def test_those_who_wait_for_a_load_are_bounded_by_the_queue(lives):
    lives.mood("late", hold=True)
    limits = {"max_concurrent_requests": 2, "max_queued_requests": 3}
    with lives.serving({"id": "late", "load": "request", "limits": limits}):

        async def ask():
            async with lives.client() as client:
                asked = [asyncio.create_task(client.post("/v1/chat/completions", json=body("late"))) for _ in range(12)]
                await become(lambda: sum(request.done() for request in asked) == 7)
                assert lives.server.health()["num_requests_waiting"] == 5
                lives.mood("late")
                return await asyncio.gather(*asked)

        answers = asyncio.run(ask())
    assert sorted(answer.status_code for answer in answers) == [200] * 5 + [429] * 7
    refusal = next(answer for answer in answers if answer.status_code == 429)
    assert refusal.json()["error"]["code"] == "server_overloaded"
    assert int(refusal.headers["retry-after"]) >= 1


def test_who_leaves_while_a_model_loads_gives_up_his_place_and_not_the_load(lives):
    lives.mood("late", hold=True)
    limits = {"max_concurrent_requests": 1, "max_queued_requests": 0}
    with lives.serving({"id": "late", "load": "request", "limits": limits}):

        async def leave():
            async with lives.client() as client:
                asked = asyncio.create_task(client.post("/v1/chat/completions", json=body("late")))
                await become(lambda: lives.server.health()["num_requests_waiting"] == 1)
                asked.cancel()
                await become(lambda: lives.server.health()["num_requests_waiting"] == 0)

        asyncio.run(leave())
        assert lives.states() == {"late": "loading"}
        lives.mood("late")
        assert content(lives.ask("late")) == "hello"
        assert lives.loads("late") == (1, 0)


def test_a_model_that_is_loaded_by_hand_waits_for_the_hand(lives):
    with lives.serving({"id": "org/hand", "aliases": ["thumb"], "load": "manual"}):
        refusal = lives.ask("org/hand")
        assert (refusal.status_code, refusal.json()["error"]["code"]) == (503, "service_unavailable")
        loaded = lives.change("org/hand", "load")
        assert (loaded.status_code, loaded.json()["id"], loaded.json()["state"]) == (200, "org/hand", "loaded")
        assert content(lives.ask("thumb")) == "hello"
        assert lives.change("thumb", "unload").json()["state"] == "unloaded"
        assert lives.ask("thumb").status_code == 503
        known = lives.model("thumb")
        assert (known["id"], known["alias_of"], known["state"]) == ("thumb", "org/hand", "unloaded")
        assert "createChatCompletion" in known["capabilities"]["operations"]  # what is known from its last load
        assert lives.loads("org/hand") == (1, 1)


def test_only_an_admin_key_loads_and_unloads(apart):
    with apart.running("one", api_keys=["sk-user"]):
        for verb in ("unload", "load"):
            assert apart.change("one", verb, headers={}).status_code == 401
            assert apart.change("one", verb, headers={"Authorization": "Bearer sk-wrong"}).status_code == 401
            refusal = apart.change("one", verb, headers={"Authorization": "Bearer sk-user"})
            assert (refusal.status_code, refusal.json()["error"]["code"]) == (403, "permission_denied")
            assert apart.change("one", verb).json()["state"] == f"{verb}ed"
            assert apart.change("none", verb).status_code == 404
            wrong = httpx.get(f"{apart.server.url}/v1/models/one/{verb}", headers=ADMIN, timeout=60)
            assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")
        # An admin key opens everything else too.
        assert httpx.get(f"{apart.server.url}/v1/models", headers=ADMIN, timeout=60).status_code == 200
        assert apart.loads("one") == (2, 1)


def test_without_admin_keys_nobody_loads_and_unloads(echo):
    for headers in ({}, ADMIN):
        assert echo.post("/v1/models/echo/unload", headers=headers).status_code == 403
    assert echo.get("/v1/models/echo").json()["state"] == "loaded"


def test_a_load_that_fails_tells_its_cause_and_is_tried_again_after_a_pause(lives):
    lives.mood("sick", fail="there is no such file", megabytes=1)
    with lives.serving("well", {"id": "sick", "load": "request"}):
        refusal = lives.ask("sick")
        assert refusal.status_code == 503
        assert "there is no such file" in refusal.json()["error"]["message"]
        model = lives.model("sick")
        assert (model["state"], model["load_error"]) == ("failed", "there is no such file")
        assert lives.server.health()["status"] == "degraded"
        assert content(lives.ask("well")) == "hello"

        lives.mood("sick")
        again = lives.ask("sick")
        assert again.status_code in {200, 503}  # 503 within the pause, which is told
        if again.status_code == 503:
            assert int(again.headers["retry-after"]) >= 1
        assert until(lambda: lives.ask("sick").status_code == 200)
        assert "load_error" not in lives.model("sick")
        assert lives.server.health()["status"] == "ok"


def test_by_hand_a_failed_model_is_loaded_without_a_pause(lives):
    lives.mood("sick", fail="no")
    with lives.serving({"id": "sick", "load": "manual"}):
        refusal = lives.change("sick", "load")
        assert (refusal.status_code, refusal.json()["error"]["message"]) == (503, "The model could not be loaded: no")
        assert "could not be loaded: no" in lives.ask("sick").json()["error"]["message"]
        lives.mood("sick")
        assert lives.change("sick", "load").json()["state"] == "loaded"


def test_what_a_crash_of_a_backend_says_stays_in_the_log(lives):
    lives.mood("sick", crash=True)
    with lives.serving({"id": "sick", "load": "request"}):
        refusal = lives.ask("sick")
        assert refusal.status_code == 503
        assert "secret" not in refusal.text + httpx.get(f"{lives.server.url}/v1/models", timeout=60).text
        assert until(lambda: lives.said("RuntimeError: secret detail"))


def test_at_start_a_failure_ends_the_server_or_not_as_the_operator_wants(apart):
    apart.mood("sick", fail="no such file")
    with pytest.raises(AssertionError, match=r"specserve: model 'sick': no such file\n"), apart.running("well", "sick"):
        pass
    with apart.running("well", "sick", on_load_failure="continue"):
        assert apart.states() == {"well": "loaded", "sick": "failed"}
        assert apart.said("sick  could not be loaded: no such file")
        apart.mood("sick")
        assert until(lambda: apart.ask("sick").status_code == 200)


def test_an_unload_lets_what_was_accepted_finish_and_what_comes_meanwhile_loads_again(lives):
    lives.mood("busy", pause=True)
    with lives.serving("busy"):

        async def run():
            async with lives.client() as client:
                started = asyncio.Event()
                stream = asyncio.create_task(stream_text(client, "busy", started=started))
                await started.wait()
                unload = asyncio.create_task(client.post("/v1/models/busy/unload", headers=ADMIN))
                await become(lambda: lives.states() == {"busy": "unloading"})
                late = asyncio.create_task(client.post("/v1/chat/completions", json=body("busy", "late")))
                await become(lambda: lives.server.health()["num_requests_waiting"] == 1)
                assert not unload.done()
                assert lives.loads("busy") == (1, 0)
                lives.mood("busy")
                return await stream, await unload, await late

        said, unloaded, late = asyncio.run(run())
        assert said == LONG
        assert unloaded.status_code == 200
        assert content(late) == "late"
        assert lives.loads("busy") == (2, 1)


def test_an_unload_ends_when_the_last_client_leaves(lives):
    lives.mood("busy", pause=True)
    with lives.serving({"id": "busy", "load": "manual"}):
        lives.change("busy", "load")

        async def run():
            async with lives.client() as client:
                started = asyncio.Event()
                stream = asyncio.create_task(stream_text(client, "busy", started=started))
                await started.wait()
                unload = asyncio.create_task(client.post("/v1/models/busy/unload", headers=ADMIN))
                await become(lambda: lives.states() == {"busy": "unloading"})
                assert (await client.post("/v1/chat/completions", json=body("busy"))).status_code == 503
                stream.cancel()
                return await unload

        assert asyncio.run(run()).json()["state"] == "unloaded"


def test_the_least_recently_used_makes_room_and_never_one_that_generates(lives):
    with lives.serving(*({"id": name, "load": "request"} for name in "abc"), max_loaded_models=2):
        lives.ask("a", "x")
        lives.ask("b", "x")
        lives.ask("a", "x")
        lives.ask("c", "x")
        assert lives.states() == {"a": "loaded", "b": "unloaded", "c": "loaded"}

        async def run():
            async with lives.client() as client:
                started = asyncio.Event()
                lives.mood("a", pause=True)
                stream = asyncio.create_task(stream_text(client, "a", started=started))
                await started.wait()
                await client.post("/v1/chat/completions", json=body("c", "x"))
                answer = await client.post("/v1/chat/completions", json=body("b", "x"))
                lives.mood("a")
                return await stream, answer, lives.states()

        said, answer, states = asyncio.run(run())
        assert (said, content(answer)) == (LONG, "x")
        assert states == {"a": "loaded", "b": "loaded", "c": "unloaded"}


def test_where_all_are_in_use_the_next_waits_until_one_has_finished(lives):
    with lives.serving(*({"id": name, "load": "request", **SLOW} for name in "ab"), max_loaded_models=1):

        async def run():
            async with lives.client() as client:
                texts = [f"{LONG}{i}" for i in range(8)]
                return texts, await asyncio.gather(
                    *(stream_text(client, "ab"[i % 2], text) for i, text in enumerate(texts))
                )

        texts, said = asyncio.run(run())
        assert said == texts
        assert sum(lives.loads(name)[0] - lives.loads(name)[1] for name in "ab") == 1


def test_more_models_at_start_than_may_be_loaded_are_an_error(apart):
    with (
        pytest.raises(AssertionError, match="'max_loaded_models' is 1, and as many models are loaded"),
        apart.running("a", "b", max_loaded_models=1),
    ):
        pass


def test_memory_is_measured_and_the_least_recently_used_makes_room(lives):
    for name in "abc":
        lives.mood(name, megabytes=60)
    # Each takes 60 MB and what an interpreter takes, some 10.
    with lives.serving(*({"id": name, "load": "request"} for name in "abc"), max_memory_mb=180):
        for name in "abc":
            assert content(lives.ask(name)) == "hello"
        assert lives.states() == {"a": "unloaded", "b": "loaded", "c": "loaded"}
        lives.mood("a", megabytes=300)
        refusal = lives.ask("a")
        assert refusal.status_code == 503
        assert "'max_memory_mb' is 180" in refusal.json()["error"]["message"]
        assert lives.states() == {"a": "failed", "b": "unloaded", "c": "unloaded"}
        assert content(lives.ask("c")) == "hello"


def test_a_declared_size_counts_instead(lives):
    models = [{"id": name, "load": "request", "memory_mb": 100} for name in "ab"]
    with lives.serving(*models, {"id": "c", "load": "request", "memory_mb": 300}, max_memory_mb=200):
        assert [content(lives.ask(name)) for name in "ab"] == ["hello"] * 2
        assert lives.states() == {"a": "loaded", "b": "loaded", "c": "unloaded"}
        assert "it takes 300 MB" in lives.ask("c").json()["error"]["message"]


def test_an_idle_model_is_unloaded_and_comes_back(lives):
    with lives.serving({"id": "idle", "unload_after_seconds": 0.3, **SLOW}, "stays"):

        async def run():
            async with lives.client() as client:
                return await stream_text(client, "idle")  # takes 2 s: a model in use is not idle

        assert asyncio.run(run()) == LONG
        assert lives.loads("idle")[0] in {1, 2}
        assert until(lambda: lives.states() == {"idle": "unloaded", "stays": "loaded"})
        assert content(lives.ask("idle")) == "hello"
