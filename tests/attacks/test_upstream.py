"""A hostile upstream harms no one: each answer is bounded in bytes, depth and time, and ends in an error of ours."""

import asyncio
import json

import hostile_upstream as hostile
import httpx
import pytest
from servers import running
from stand_in import standing_in

MENDED = {"counts of many digits", "nested deep", "an event nested deep"}
REFUSED = {"a code of many digits": 400, "an error that repeats the key": 400, "status 999": 503}
REFUSED["an error that repeats the key, streamed"] = 400
OPTIONS = {
    "model": "their-name",
    "api_key_env": "HOSTILE_KEY",
    "total_timeout": 2.0,
    "first_byte_timeout": 1.0,
    "idle_timeout": 1.0,
    "max_retries": 0,
}


def attacked(tmp_path, names, *, stream):
    """Name -> status, what the client got; all asked at once, beside clients of another model. And the server's log."""

    async def run():
        async with standing_in(hostile.answer) as seen:
            config = tmp_path / "hostile.toml"
            options = "".join(f"{name} = {json.dumps(value)}\n" for name, value in OPTIONS.items())
            config.write_text(
                f'[[models]]\nid = "up"\nbackend = "upstream"\nsource = "{seen.url}"\n[models.options]\n{options}'
                '[[models]]\nid = "echo"\nbackend = "echo"\n'
            )
            return await asyncio.to_thread(serve, str(config))

    def serve(config):
        with running("--config", config, environ={"HOSTILE_KEY": hostile.KEY}) as server:
            return asyncio.run(ask_all(server)), "".join(server.output)

    async def ask_all(server):
        async with httpx.AsyncClient(base_url=server.url, timeout=120, trust_env=False) as client:
            others = [asyncio.create_task(well(client)) for _ in range(3)]
            gate = asyncio.Semaphore(4)
            answers = await asyncio.gather(*(ask(client, gate, name) for name in names))
            assert not [other.exception() for other in others if other.done()]
            for other in others:
                other.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            body = {"model": "up", "messages": [{"role": "user", "content": "well"}]}
            assert (await client.post("/v1/chat/completions", json=body)).status_code == 200
            health = (await client.get("/health")).json()
            assert (health["status"], health["num_requests_running"], health["num_requests_waiting"]) == ("ok", 0, 0)
            return dict(zip(names, answers, strict=True))

    async def ask(client, gate, name):
        body = {"model": "up", "stream": stream, "messages": [{"role": "user", "content": name}]}
        async with gate, client.stream("POST", "/v1/chat/completions", json=body) as response:
            end = b""
            async for part in response.aiter_bytes():
                end = (end + part)[-4000:]
            return response.status_code, end.decode(errors="replace")

    async def well(client):
        """Ask another model again and again."""
        body = {"model": "echo", "messages": [{"role": "user", "content": "hello"}]}
        while True:
            answer = await client.post("/v1/chat/completions", json=body)
            assert answer.json()["choices"][0]["message"]["content"] == "hello"
            await asyncio.sleep(0.05)

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("names", "stream"),
    [(list(hostile.PLAIN), False), (list(hostile.STREAMS), True)],
    ids=["plain answers", "streams"],
)
def test_whatever_an_upstream_sends_ends_in_an_error_of_ours_and_no_one_else_is_harmed(tmp_path, names, stream):
    answers, output = attacked(tmp_path, names, stream=stream)
    assert "Traceback" not in output, output[output.index("Traceback") - 2000 :][:6000]
    assert hostile.KEY not in output
    for name, (status, text) in answers.items():
        assert hostile.KEY not in text, name
        if name in MENDED:
            assert status in {200, 502}, (name, status, text)
            continue
        last = text
        expected = {REFUSED[name]} if name in REFUSED else {502, 504}
        if status == 200:  # it had begun: then the error is the last event
            assert stream, (name, text)
            last = text[text.rindex("data: ") + 6 :]
        else:
            assert status in expected, (name, status, text)
        error = json.loads(last)["error"]
        assert set(error) == {"message", "type", "param", "code"}, name
        assert error["message"], name
