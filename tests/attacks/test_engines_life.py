"""Models that must go while clients hold on to them, and configurations that a start would refuse."""

import asyncio

import pytest
from lives import Lives, become, body, content, until


@pytest.fixture
def lives(tmp_path):
    return Lives(tmp_path)


def test_a_stream_that_does_not_end_holds_up_another_model_only_for_the_time_of_draining(lives):
    lives.mood("slow", pause=True)
    both = [{"id": name, "load": "request"} for name in ("slow", "other")]
    with lives.running(*both, max_loaded_models=1, drain_seconds=0.5):

        async def run():
            async with lives.client() as client:
                stream = asyncio.create_task(
                    client.post("/v1/chat/completions", json=body("slow", "x" * 50, stream=True))
                )
                await become(lambda: lives.states()["slow"] == "loaded")
                other = await client.post("/v1/chat/completions", json=body("other"))
                return (await stream).text, content(other)

        said, other = asyncio.run(run())
        assert other == "hello"
        assert "service_unavailable" in said
        assert "[DONE]" not in said
        assert lives.states() == {"slow": "unloaded", "other": "loaded"}
        assert until(lambda: lives.server.health()["num_requests_running"] == 0)


def test_a_reload_refuses_a_default_that_a_start_refuses(lives):
    with lives.running("plain"):
        lives.write({"id": "plain", "defaults": {"reasoning_effort": "low"}})
        lives.hang_up()
        assert lives.said("nothing has changed")
        assert lives.said("would have no effect")
        assert content(lives.ask("plain")) == "hello"


def test_a_lower_limit_of_loaded_models_unloads(lives):
    with lives.running("a", "b"):
        lives.write("a", "b", max_loaded_models=1)
        lives.hang_up()
        assert until(lambda: sorted(lives.states().values()) == ["loaded", "unloaded"])
