"""A server in front of other servers: the same contract, through the official client and the conformance kit."""

import asyncio
import json
import signal
import subprocess
import sys

import httpx
import openai
import pytest
from servers import running
from stand_in import plain, reply, standing_in

HELLO = [{"role": "user", "content": "hello, world"}]


@pytest.fixture(scope="module")
def client(relay_server):
    with openai.OpenAI(base_url=f"{relay_server.url}/v1", api_key="unused", max_retries=0) as client:
        yield client


def without(answer, *names):
    return {key: value for key, value in answer.items() if key not in {"id", "created", "model", *names}}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("chat/completions", {"messages": HELLO, "n": 2, "logprobs": True, "top_logprobs": 2}),
        ("completions", {"prompt": ["one", "two"], "n": 2, "logprobs": 1, "max_tokens": 3}),
        ("embeddings", {"input": ["one", "two"]}),
        ("embeddings", {"input": [1, 2, 3], "encoding_format": "base64"}),
    ],
)
def test_an_answer_is_the_upstreams_but_for_the_name_of_the_model(relay_server, echo_server, path, body):
    relayed = httpx.post(
        f"{relay_server.url}/v1/{path}", json={"model": "relayed", **body}, timeout=60, trust_env=False
    )
    direct = httpx.post(f"{echo_server.url}/v1/{path}", json={"model": "echo", **body}, timeout=60, trust_env=False)
    assert relayed.status_code == 200, relayed.text
    assert relayed.json()["model"] == "relayed"
    assert without(relayed.json()) == without(direct.json())


def events(url, body):
    response = httpx.post(f"{url}/v1/{body.pop('path')}", json={**body, "stream": True}, timeout=60, trust_env=False)
    assert response.headers["content-type"].startswith("text/event-stream")
    *payloads, done = [event.removeprefix("data: ") for event in response.text.split("\n\n") if event]
    assert done == "[DONE]"
    return [without(json.loads(payload)) for payload in payloads]


@pytest.mark.parametrize("usage", [True, False, None])
@pytest.mark.parametrize(
    "body",
    [
        {"path": "chat/completions", "messages": HELLO, "n": 2, "logprobs": True},
        {"path": "completions", "prompt": ["one", "two"], "logprobs": 1},
    ],
)
def test_a_stream_is_the_upstreams_chunk_by_chunk(relay_server, echo_server, body, usage):
    options = {} if usage is None else {"stream_options": {"include_usage": usage}}
    relayed = events(relay_server.url, {**body, **options, "model": "relayed"})
    direct = events(echo_server.url, {**body, **options, "model": "echo"})
    if not usage:  # the upstream was asked for the usage all the same, and says null until the end
        relayed = [{name: value for name, value in one.items() if name != "usage"} for one in relayed]
    assert relayed == direct


def test_the_official_client_sync(client):
    assert [model.id for model in client.models.list().data] == ["relayed"]
    answer = client.chat.completions.create(model="relayed", messages=HELLO)
    assert (answer.model, answer.choices[0].message.content) == ("relayed", "hello, world")
    chunks = list(
        client.chat.completions.create(
            model="relayed", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]) == "hello, world"
    assert chunks[-1].usage == answer.usage
    assert client.completions.create(model="relayed", prompt="hello").choices[0].text == "hello"
    assert len(client.embeddings.create(model="relayed", input=["x", "y"]).data) == 2


def test_the_official_client_async(relay_server):
    async def talk():
        async with openai.AsyncOpenAI(base_url=f"{relay_server.url}/v1", api_key="unused", max_retries=0) as client:
            answer = await client.chat.completions.create(model="relayed", messages=HELLO)
            stream = await client.chat.completions.create(model="relayed", messages=HELLO, stream=True)
            text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
            vectors = await client.embeddings.create(model="relayed", input="x")
            return answer.choices[0].message.content, text, len(vectors.data)

    assert asyncio.run(talk()) == ("hello, world", "hello, world", 1)


def test_refusals_of_the_upstream_are_the_right_exceptions(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="relayed", messages=[{"role": "user", "content": "word " * 9000}])
    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "messages")
    with pytest.raises(openai.BadRequestError) as caught:
        client.embeddings.create(model="relayed", input="x", dimensions=9999)
    assert caught.value.param == "dimensions"
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="echo", messages=HELLO)
    assert caught.value.code == "model_not_found"


def config(path, url, **options):
    lines = [f"{name} = {json.dumps(value)}" for name, value in {"model": "echo", **options}.items()]
    text = f'[[models]]\nid = "relayed"\nbackend = "upstream"\nsource = "{url}"\n[models.options]\n'
    path.write_text(text + "\n".join(lines) + "\n")
    return str(path)


def test_all_models_of_an_upstream_by_one_entry(echo_server):
    with running("--model", f"their/*=upstream:{echo_server.url}/v1", "--validate-responses") as server:
        (listed,) = httpx.get(f"{server.url}/v1/models", timeout=60, trust_env=False).json()["data"]
        (theirs,) = httpx.get(f"{echo_server.url}/v1/models", timeout=60, trust_env=False).json()["data"]
        assert (listed["id"], listed["state"]) == ("their/echo", "loaded")
        assert listed["capabilities"]["context_length"] == theirs["capabilities"]["context_length"]
        body = {"model": "their/echo", "messages": HELLO}
        answer = httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=60, trust_env=False).json()
        assert (answer["model"], answer["choices"][0]["message"]["content"]) == ("their/echo", "hello, world")


def error(message, code):
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}


FAILURES = [
    (error("Incorrect API key provided: sk-ups***", "invalid_api_key"), 401, openai.InternalServerError, 502),
    (error("Slow down.", "rate_limit_exceeded"), 429, openai.RateLimitError, 429),
    (error("No.", "some_code"), 400, openai.BadRequestError, 400),
    ("<html>", 500, openai.InternalServerError, 502),
]


def test_failures_of_the_upstream_are_the_right_exceptions_and_no_key_is_shown(tmp_path):
    async def run():
        async with standing_in(
            *(reply(body, status, {"retry-after": "30"}) for body, status, _, _ in FAILURES)
        ) as seen:
            path = config(tmp_path / "c.toml", seen.url, api_key_env="STAND_IN_KEY", max_retries=0)
            return await asyncio.to_thread(asked, path)

    def asked(path):
        environ = {"STAND_IN_KEY": "sk-upstream-secret"}
        with (
            running("--config", path, "--api-key", "sk-client", "--log-level", "debug", environ=environ) as server,
            openai.OpenAI(base_url=f"{server.url}/v1", api_key="sk-client", max_retries=0) as client,
        ):
            for _, _, expected, status in FAILURES:
                with pytest.raises(expected) as caught:
                    client.chat.completions.create(model="relayed", messages=HELLO)
                response = caught.value.response
                assert response.status_code == status
                assert set(response.json()["error"]) == {"message", "type", "param", "code"}
                assert "sk-ups" not in response.text
                assert response.headers.get("retry-after") == ("30" if status == 429 else None)
            with pytest.raises(openai.AuthenticationError) as ours:
                client.with_options(api_key="wrong").chat.completions.create(model="relayed", messages=HELLO)
            assert ours.value.code == "invalid_api_key"
            return "".join(server.output)

    output = asyncio.run(run())
    assert "upstream refuses requests" in output
    assert "sk-ups" not in output
    assert "sk-client" not in output


def test_one_of_two_servers_is_killed_under_load_and_nothing_fails_that_had_not_begun(echo_server, tmp_path):
    with running("--model", "echo") as second:
        path = config(tmp_path / "c.toml", f"{echo_server.url}/v1", base_urls=[f"{second.url}/v1"])
        with running("--config", path) as server:

            async def ask(http, at):
                body = {"model": "relayed", "messages": HELLO, "stream": at % 3 == 0}
                text = ""
                async with http.stream("POST", "/v1/chat/completions", json=body) as response:
                    async for part in response.aiter_text():
                        text += part
                return response.status_code, text

            async def run():
                limits = httpx.Limits(max_connections=32)
                async with httpx.AsyncClient(base_url=server.url, timeout=60, limits=limits, trust_env=False) as http:
                    tasks = [asyncio.create_task(ask(http, at)) for at in range(200)]
                    while sum(task.done() for task in tasks) < 25:
                        await asyncio.sleep(0.01)
                    second.process.send_signal(signal.SIGKILL)
                    return await asyncio.gather(*tasks)

            answers = asyncio.run(run())
            assert server.health()["num_requests_running"] == 0
    assert {status for status, _ in answers} == {200}
    cut = [text for _, text in answers if '"error"' in text]
    assert len(cut) < 20
    assert all("data: {" in text.split('"error"')[0] for text in cut), "only what had begun to stream may break off"


def test_the_relayed_echo_is_as_conformant_as_echo(relay_server, tmp_path):
    options = ("--model", "relayed", "--embedding-model", "relayed", "--profile", "all", "--max-time", "120")
    done = subprocess.run(
        [sys.executable, "-m", "specserve", "conform", f"{relay_server.url}/v1", *options, "--report", tmp_path],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((tmp_path / "results.json").read_text())["verdicts"]["strict"] == "conformant"


def test_parameters_that_are_passed_through_go_to_the_upstream_and_no_others(tmp_path):
    async def run():
        async with standing_in(reply(plain())) as seen:
            path = tmp_path / "passing.toml"
            config(path, seen.url, pass_through=["chat_template_kwargs", "guided_regex"])
            with running("--config", str(path)) as server, server.client() as client:
                body = {"model": "relayed", "messages": HELLO, "chat_template_kwargs": {"enable_thinking": False}}
                first = await asyncio.to_thread(client.post, "/v1/chat/completions", json={**body, "guided_regex": 0.1})
                other = await asyncio.to_thread(client.post, "/v1/chat/completions", json={**body, "min_q": 0.1})
                return first, other, [one.body for one in seen.requests]

    first, other, (sent,) = asyncio.run(run())
    assert first.status_code == 200, first.text
    assert (sent["chat_template_kwargs"], sent["guided_regex"]) == ({"enable_thinking": False}, 0.1)
    assert (other.status_code, other.json()["error"]["param"]) == (400, "min_q")
