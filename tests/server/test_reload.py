"""SIGHUP: the configuration is read again, and models come and go beside running streams."""

import asyncio
import json

import pytest
from lives import Lives, become, body, content, until

LONG = "word " * 20


@pytest.fixture(scope="module")
def lives(tmp_path_factory):
    lives = Lives(tmp_path_factory.mktemp("lives"))
    with lives.running("first"):
        yield lives


def reload(lives, *models, **settings):
    lives.write(*models, **settings)
    lives.hang_up()


def test_models_are_added_and_removed(lives):
    reload(lives, "first", "second", {"id": "third", "load": "request", "aliases": ["tertius"]})
    assert until(lambda: lives.states() == {"first": "loaded", "second": "loaded", "third": "unloaded"})
    assert content(lives.ask("tertius")) == "hello"
    before = lives.loads("first")
    reload(lives, "first")
    assert lives.states() == {"first": "loaded"}
    for gone in ("second", "third", "tertius"):
        assert lives.ask(gone).json()["error"]["code"] == "model_not_found"
    assert until(lambda: [lives.loads(name) for name in ("second", "third")] == [(1, 1), (1, 1)])
    assert lives.loads("first") == before


def test_a_stream_of_a_removed_model_goes_on_to_its_end(lives):
    lives.mood("leaving", pause=True)
    reload(lives, "first", "leaving")
    assert until(lambda: lives.states()["leaving"] == "loaded")

    async def run():
        async with (
            lives.client() as client,
            client.stream("POST", "/v1/chat/completions", json=body("leaving", LONG, stream=True)) as response,
        ):
            lines = response.aiter_lines()
            await anext(lines)
            await asyncio.to_thread(reload, lives, "first")
            refused = await client.post("/v1/chat/completions", json=body("leaving"))
            assert lives.loads("leaving")[1] == 0
            lives.mood("leaving")
            return refused, [line async for line in lines if line]

    refused, lines = asyncio.run(run())
    assert refused.json()["error"]["code"] == "model_not_found"
    assert lines[-1] == "data: [DONE]"
    assert json.loads(lines[-2].removeprefix("data: "))["choices"][0]["finish_reason"] == "stop"
    assert until(lambda: lives.loads("leaving") == (1, 1))


def test_what_the_engine_does_not_see_changes_without_loading_again(lives):
    reload(lives, {"id": "first", "load": "manual"})
    before = lives.loads("first")
    limits = {"max_output_tokens": 7, "max_concurrent_requests": 1, "max_queued_requests": 0}
    reload(lives, {"id": "first", "aliases": ["one"], "defaults": {"max_tokens": 2}, "limits": limits})
    assert content(lives.ask("one")) == "hell"
    assert lives.ask("one", max_tokens=8).status_code == 400
    assert lives.loads("first") == before
    reload(lives, "first")
    assert content(lives.ask("first")) == "hello"
    assert lives.ask("one").status_code == 404


def test_a_model_that_was_unloaded_stays_so(lives):
    reload(lives, "first", "rests")
    assert until(lambda: lives.states() == {"first": "loaded", "rests": "loaded"})
    lives.change("rests", "unload")
    reload(lives, "first", "rests", {"id": "new", "load": "request"})
    assert lives.states() == {"first": "loaded", "rests": "unloaded", "new": "unloaded"}
    reload(lives, "first")


def test_other_options_are_another_engine(lives):
    reload(lives, {"id": "changing", "options": {"context_length": 100}})
    assert until(lambda: lives.states() == {"changing": "loaded"})
    reload(lives, {"id": "changing", "options": {"context_length": 200}})
    assert until(lambda: lives.loads("changing") == (2, 1))
    model = lives.model("changing")
    assert model["capabilities"]["context_length"] == 200
    reload(lives, "first")


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("models = 3", "line 2: models: input should be a list"),
        ("[[models]]\nid = 'x'\nbackend = 'echo'\noptions = { paze = 1 }", "line 5: models[0].options.paze: model 'x'"),
        ("[[models]]\nid = 'x'\nbackend = 'echo'\naliases = ['x']", "line 5: models[0].aliases: model 'x'"),
        ("[[models]\n", "is not valid TOML"),
    ],
)
def test_a_wrong_configuration_is_told_with_line_and_key_and_changes_nothing(lives, wrong, told):
    reload(lives, "first")
    before, loads = lives.states(), lives.loads("first")
    lives.config.write_text(f"host = '127.0.0.1'\n{wrong}\n")
    seen = len(lives.said("nothing has changed"))
    lives.hang_up()
    assert len(lives.said("nothing has changed")) == seen + 1
    assert told in lives.said("nothing has changed")[-1]
    assert (lives.states(), lives.loads("first")) == (before, loads)
    assert content(lives.ask("first")) == "hello"


def test_a_model_that_cannot_be_loaded_leaves_the_others_alone(lives):
    lives.mood("sick", fail="no such file")
    reload(lives, "first", "sick")
    assert until(lambda: lives.states() == {"first": "loaded", "sick": "failed"})
    assert content(lives.ask("first")) == "hello"
    reload(lives, "first")


def test_what_takes_effect_at_the_next_start_only_is_named(lives):
    reload(lives, "first", max_body_bytes=1)
    assert "'max_body_bytes'" in lives.said("at the next start only")[-1]
    reload(lives, "first")


def test_requests_that_wait_for_a_model_that_is_removed_are_answered(lives):
    lives.mood("late", hold=True)
    reload(lives, "first", {"id": "late", "load": "request"})

    async def run():
        async with lives.client() as client:
            asked = [asyncio.create_task(client.post("/v1/chat/completions", json=body("late"))) for _ in range(5)]
            await become(lambda: lives.server.health()["num_requests_waiting"] == 5)
            await asyncio.to_thread(reload, lives, "first")
            lives.mood("late")
            return await asyncio.gather(*asked)

    assert [content(answer) for answer in asyncio.run(run())] == ["hello"] * 5
    assert until(lambda: lives.loads("late") == (1, 1))
