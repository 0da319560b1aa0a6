"""The official client, sync and async, against real models."""

import asyncio
import base64
import math
import struct

import openai
import pytest
from servers import CHAT, EMBED, running

PARIS = [{"role": "user", "content": "What is the capital of France?"}]


@pytest.fixture
def client(default_server):
    with openai.OpenAI(base_url=f"{default_server.url}/v1", api_key="unused", max_retries=0) as client:
        yield client


def test_models_are_listed_and_retrieved(client):
    models = client.models.list().data
    assert [model.id for model in models] == [CHAT, EMBED]
    for model in models:
        assert client.models.retrieve(model.id) == model


def test_chat_knows_paris(client):
    answer = client.chat.completions.create(model=CHAT, messages=PARIS, temperature=0)
    assert "Paris" in answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"
    assert answer.model == CHAT
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_a_stream_says_the_same_as_the_plain_answer(client):
    plain = client.chat.completions.create(model=CHAT, messages=PARIS, temperature=0, max_tokens=20)
    chunks = list(
        client.chat.completions.create(
            model=CHAT,
            messages=PARIS,
            temperature=0,
            max_tokens=20,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert len({chunk.id for chunk in chunks}) == 1
    assert len({chunk.created for chunk in chunks}) == 1
    *body, last = chunks
    assert last.choices == []
    assert last.usage == plain.usage
    assert all(chunk.usage is None for chunk in body)
    assert body[0].choices[0].delta.role == "assistant"
    assert all(chunk.choices[0].delta.role is None for chunk in body[1:])
    text = "".join(chunk.choices[0].delta.content or "" for chunk in body)
    assert text == plain.choices[0].message.content
    reasons = [chunk.choices[0].finish_reason for chunk in body]
    assert reasons[-1] == plain.choices[0].finish_reason
    assert set(reasons[:-1]) == {None}
    assert len(body) > 5, "a stream arrives piece by piece"


def test_usage_is_not_streamed_to_those_who_did_not_ask(client):
    for options in ({}, {"stream_options": {}}, {"stream_options": {"include_usage": False}}):
        chunks = list(client.chat.completions.create(model=CHAT, messages=PARIS, max_tokens=3, stream=True, **options))
        assert all(chunk.choices for chunk in chunks)
        assert all(chunk.usage is None for chunk in chunks)


def test_completions_plain_and_streamed(client):
    arguments = {"model": CHAT, "prompt": "The capital of France is", "temperature": 0, "max_tokens": 8}
    plain = client.completions.create(**arguments)
    assert "Paris" in plain.choices[0].text
    assert plain.choices[0].finish_reason == "length"
    assert plain.usage.completion_tokens == 8
    chunks = list(client.completions.create(**arguments, stream=True, stream_options={"include_usage": True}))
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == plain.choices[0].text
    assert chunks[-1].usage == plain.usage


def test_several_answers_and_prompts_have_their_indexes(client):
    answer = client.chat.completions.create(model=CHAT, messages=PARIS, n=3, max_tokens=4, seed=1)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    answer = client.completions.create(model=CHAT, prompt=["One", "Two"], n=2, max_tokens=2)
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]


def test_embeddings_are_base64_by_default_and_floats_on_request(client):
    texts = ["a cat sat on the mat", "a kitten is on the rug", "quarterly revenue grew"]
    default = client.embeddings.create(model=EMBED, input=texts)  # the client asks for base64 and decodes
    floats = client.embeddings.create(model=EMBED, input=texts, encoding_format="float")
    assert [item.index for item in default.data] == [0, 1, 2]
    for one, other in zip(default.data, floats.data, strict=True):
        assert len(one.embedding) == 384
        assert one.embedding == pytest.approx(other.embedding, abs=1e-6)
        assert math.hypot(*one.embedding) == pytest.approx(1, abs=1e-4)
    raw = client.embeddings.create(model=EMBED, input=texts[0], encoding_format="base64").data[0].embedding
    assert struct.unpack("<384f", base64.b64decode(raw)) == pytest.approx(default.data[0].embedding, abs=1e-6)

    def cosine(i, j):
        return sum(a * b for a, b in zip(default.data[i].embedding, default.data[j].embedding, strict=True))

    assert cosine(0, 1) > cosine(0, 2) + 0.3


def test_errors_raise_the_right_exceptions(client):
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="no/such", messages=PARIS)
    assert caught.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("no/such")
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=CHAT, messages=PARIS, temperature=5)
    assert caught.value.param == "temperature"
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=CHAT, messages=[{"role": "user", "content": "word " * 9000}])
    assert caught.value.code == "context_length_exceeded"
    with pytest.raises(openai.NotFoundError) as caught:
        client.embeddings.create(model=CHAT, input="x")
    assert caught.value.code == "operation_not_supported"


def test_the_async_client_chats_streams_and_embeds(default_server):
    async def talk():
        async with openai.AsyncOpenAI(base_url=f"{default_server.url}/v1", api_key="unused", max_retries=0) as client:
            models = [model.id async for model in client.models.list()]
            plain = await client.chat.completions.create(model=CHAT, messages=PARIS, temperature=0, max_tokens=12)
            stream = await client.chat.completions.create(
                model=CHAT, messages=PARIS, temperature=0, max_tokens=12, stream=True
            )
            text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
            completion = await client.completions.create(model=CHAT, prompt="Hello", max_tokens=3)
            parts = await client.completions.create(model=CHAT, prompt="Hello", max_tokens=3, stream=True)
            pieces = [part async for part in parts]
            vectors = await client.embeddings.create(model=EMBED, input=["x", "y"])
            with pytest.raises(openai.NotFoundError):
                await client.models.retrieve("no/such")
            return models, plain, text, completion, pieces, vectors

    models, plain, text, completion, pieces, vectors = asyncio.run(talk())
    assert models == [CHAT, EMBED]
    assert text == plain.choices[0].message.content
    assert completion.usage.completion_tokens == 3
    assert pieces[-1].choices[0].finish_reason == "length"
    assert len(vectors.data) == 2


def test_a_wrong_key_is_an_authentication_error_and_a_right_one_opens():
    with running("--model", "echo", "--api-key", "sk-right", "--api-key", "sk-too") as server:
        base_url = f"{server.url}/v1"
        for wrong in ("sk-wrong", "sk-right2"):
            with (
                openai.OpenAI(base_url=base_url, api_key=wrong) as client,
                pytest.raises(openai.AuthenticationError) as e,
            ):
                client.models.list()
            assert e.value.code == "invalid_api_key"
        for right in ("sk-right", "sk-too"):
            with openai.OpenAI(base_url=base_url, api_key=right) as client:
                assert [model.id for model in client.models.list()] == ["echo"]
        with server.client() as http:
            assert http.get("/health").status_code == 200
            assert http.get("/v1/health").status_code == 200
            for path in ("/v1/models", "/docs/", "/openapi.json", "/nowhere", "/"):
                refused = http.get(path)
                assert refused.status_code == 401, path
                assert refused.json()["error"]["code"] == "invalid_api_key"
                assert "Basic" in refused.headers["www-authenticate"]
            assert http.get("/docs/", auth=("anyone", "sk-right")).status_code == 200
    assert "sk-" not in "".join(server.output)


def test_overload_is_a_rate_limit_error(tmp_path):
    config = tmp_path / "specserve.toml"
    config.write_text(
        "max_concurrent_requests = 1\n"
        "max_queued_requests = 1\n"
        "[[models]]\n"
        'id = "slow"\n'
        'backend = "echo"\n'
        "options = { first_token_delay = 2.0 }\n"
    )
    with running("--config", str(config)) as server:

        async def talk():
            async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="unused", max_retries=0) as client:
                ask = [client.chat.completions.create(model="slow", messages=PARIS) for _ in range(6)]
                return await asyncio.gather(*ask, return_exceptions=True)

        answers = asyncio.run(talk())
        refused = [answer for answer in answers if isinstance(answer, openai.RateLimitError)]
        assert len(refused) == 4
        assert all(int(answer.response.headers["retry-after"]) >= 1 for answer in refused)
        assert all(answer.code == "server_overloaded" for answer in refused)
        assert len(answers) - len(refused) == 2
