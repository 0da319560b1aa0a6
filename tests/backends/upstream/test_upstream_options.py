"""The options, what is sent because of them, and what a model is said to do."""

import asyncio

import pytest
from stand_in import CALL, chat, chat_request, complete, embed, good, plain, relaying, reply, standing_in, stream

from specserve.backends.base import ModelSettings
from specserve.backends.upstream.backend import Upstream
from specserve.backends.upstream.repairs import REPAIRS
from specserve.spec.errors import BackendLoadError, Unavailable

URL = "http://127.0.0.1:1/v1"


def make(source=URL, **options):
    return Upstream(ModelSettings(id="ours", backend="upstream", source=source, options=options))


@pytest.mark.parametrize(
    ("source", "options", "words"),
    [
        ("", {}, "needs an address"),
        ("127.0.0.1:8000", {}, "the source: an address must be a URL"),
        ("ftp://127.0.0.1/v1", {}, "must be a URL"),
        ("http://127.0.0.1:99999/v1", {}, "must be a URL"),
        ("http://sk-secret@127.0.0.1/v1", {}, "must not hold a user or a key"),
        ("http://127.0.0.1/v1?key=sk-secret", {}, "no query"),
        (URL, {"base_urls": ["http://u:sk-secret@h/v1"]}, "must not hold a user or a key"),
        (URL, {"api_key": "sk-secret"}, "there is no option 'api_key'"),
        (URL, {"api_key_env": "STAND_IN_NOT_SET"}, "'STAND_IN_NOT_SET' is not set"),
        (URL, {"headers_env": {"X": "STAND_IN_NOT_SET"}}, "'STAND_IN_NOT_SET' is not set"),
        (URL, {"headers": {"Authorization": "Bearer sk-secret"}}, "is a secret"),
        (URL, {"headers": {"Content-Length": "1"}}, "is not to be set"),
        (URL, {"headers": {"a b": "1"}}, "headers"),
        (URL, {"headers": {"a": "1\r\nb: 2"}}, "headers"),
        (URL, {"refuse": ["logit_bais"]}, "there is no parameter 'logit_bais'"),
        (URL, {"rename": {"top_q": "top_p"}}, "there is no parameter 'top_q'"),
        (URL, {"connect_timeout": 0}, "connect_timeout"),
        (URL, {"operations": []}, "operations"),
    ],
)
def test_a_wrong_option_stops_the_start_and_shows_no_secret(source, options, words):
    with pytest.raises(BackendLoadError) as caught:
        make(source, **options)
    assert words in str(caught.value)
    assert "sk-secret" not in str(caught.value)


def test_a_key_that_cannot_be_sent_stops_the_start(monkeypatch):
    monkeypatch.setenv("STAND_IN_KEY", "sk-se\ncret")
    with pytest.raises(BackendLoadError) as caught:
        make(api_key_env="STAND_IN_KEY")
    assert "sk-se" not in str(caught.value)


def sent(answer, ask, **options):
    """What the stand-in was sent."""

    async def run():
        async with standing_in(answer) as seen, relaying(seen, **options) as backend:
            outcome = await ask(backend)
            assert outcome.error is None
            return seen.requests[0], backend

    return asyncio.run(run())[0]


def test_the_model_is_asked_for_by_its_own_name_with_the_key_from_the_environment(monkeypatch):
    monkeypatch.setenv("STAND_IN_KEY", "sk-1")
    monkeypatch.setenv("STAND_IN_OTHER", "sk-2")
    options = {
        "api_key_env": "STAND_IN_KEY",
        "headers": {"X-Team": "blue"},
        "headers_env": {"api-key": "STAND_IN_OTHER"},
    }
    request = sent(reply(plain()), lambda backend: chat(backend, temperature=0, seed=7), **options)
    assert request.path == "/v1/chat/completions"
    assert request.body == {
        "model": "their-name",
        "messages": [{"role": "user", "content": "hi"}],
        "temperature": 0,
        "seed": 7,
    }
    assert request.headers["authorization"] == "Bearer sk-1"
    assert request.headers["api-key"] == "sk-2"
    assert request.headers["x-team"] == "blue"
    assert request.headers["content-type"] == "application/json"


def test_no_key_is_sent_where_none_was_named():
    assert "authorization" not in sent(reply(plain()), chat).headers


def test_the_usage_of_a_stream_is_always_asked_for_unless_the_upstream_cannot_tell():
    answer = stream(*good("hello"))
    assert sent(answer, lambda backend: chat(backend, stream=True)).body["stream_options"] == {"include_usage": True}
    body = sent(answer, lambda backend: chat(backend, stream=True), stream_usage=False).body
    assert "stream_options" not in body
    assert "stream_options" not in sent(reply(plain()), chat).body


def test_a_prompt_becomes_a_message_and_a_parameter_gets_its_other_name():
    body = sent(
        reply(plain()),
        lambda backend: chat(backend, prompt="hi", max_completion_tokens=5),
        rename={"max_completion_tokens": "max_tokens"},
    ).body
    assert body == {"model": "their-name", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5}


def test_the_body_goes_on_as_the_client_wrote_it():
    body = {"model": "ours", "messages": [{"role": "user", "content": "hi"}], "temperature": 1, "stop": None}
    call = type(CALL)(CALL.id, CALL.created, body)

    async def run():
        async with standing_in(reply(plain())) as seen, relaying(seen) as backend:
            [_ async for _ in backend.chat(chat_request(), call)]
            return seen.requests[0].body

    assert asyncio.run(run()) == {**body, "model": "their-name"}
    assert body["model"] == "ours"


def test_each_operation_has_its_path():
    words = {**plain(), "object": "text_completion"}
    words["choices"] = [{"index": 0, "text": "x", "logprobs": None, "finish_reason": "stop"}]
    assert sent(reply(words), complete).path == "/v1/completions"
    vectors = {
        "object": "list",
        "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}],
        "usage": {"prompt_tokens": 1, "total_tokens": 1},
    }
    request = sent(reply(vectors), lambda backend: embed(backend, input=[1, 2], dimensions=1))
    assert (request.path, request.body) == ("/v1/embeddings", {"model": "their-name", "input": [1, 2], "dimensions": 1})


def capabilities(entry, **options):
    async def run():
        async with standing_in(reply(plain())) as seen:
            seen.models = {"object": "list", "data": [{"id": "their-name", **entry}]}
            async with relaying(seen, **options) as backend:
                return backend.capabilities

    return asyncio.run(run())


def test_a_model_does_what_the_contract_has_but_for_what_the_operator_refuses():
    everything = capabilities({})
    assert set(everything.operations) == {"createChatCompletion", "createCompletion", "createEmbedding"}
    assert {"tools", "logit_bias", "messages.tool", "messages.content.image_url"} <= everything.operations[
        "createChatCompletion"
    ]
    assert everything.context_length is None
    less = capabilities({}, operations=["chat"], refuse=["logit_bias", "messages.content.image_url"])
    assert set(less.operations) == {"createChatCompletion"}
    assert everything.operations["createChatCompletion"] - less.operations["createChatCompletion"] == {
        "logit_bias",
        "messages.content.image_url",
    }


def test_what_the_upstream_tells_of_the_model_is_believed():
    assert capabilities({"max_model_len": 4096}).context_length == 4096
    told = {
        "context_length": 100,
        "embedding_dimensions": 8,
        "max_output_tokens": 50,
        "operations": {"createChatCompletion": ["messages", "seed", "no_such_thing"]},
    }
    model = capabilities({"capabilities": told}, refuse=["seed"])
    assert model.operations == {"createChatCompletion": frozenset({"messages"})}
    assert (model.context_length, model.max_output_tokens, model.embedding_dimensions) == (100, 50, 8)


@pytest.mark.parametrize("models", [None, [], {"data": 5}, {"data": [{}]}, {"data": [{"id": "another"}]}, "x" * 100])
def test_a_list_of_models_that_says_nothing_stops_no_start(models, capsys):
    async def run():
        async with standing_in(reply(plain())) as seen:
            seen.models = models
            async with relaying(seen) as backend:
                assert (await chat(backend)).error is None
                return backend.capabilities

    assert len(asyncio.run(run()).operations) == 3
    assert ("does not list the model" in capsys.readouterr().out) == (models == {"data": [{"id": "another"}]})


@pytest.mark.parametrize(
    ("named", "models", "asked"),
    [
        (None, ["tiny.gguf"], "tiny.gguf"),
        (None, ["tiny.gguf", "ours"], "ours"),
        (None, ["tiny.gguf", "other"], "ours"),
        ("mine", ["tiny.gguf"], "mine"),
    ],
)
def test_the_only_model_there_is_the_one_that_is_meant_unless_another_was_named(named, models, asked):
    async def run():
        async with standing_in(reply(plain())) as seen:
            seen.models = {"data": [{"id": name} for name in models]}
            async with relaying(seen, model=named) as backend:
                assert (await chat(backend)).json["model"] == "ours"
                return seen.requests[0].body["model"]

    assert asyncio.run(run()) == asked


def test_before_the_start_and_after_the_end_the_model_is_not_there():
    backend = make()
    with pytest.raises(Unavailable):
        _ = backend.capabilities
    with pytest.raises(Unavailable):
        backend.chat(chat_request(), CALL)
    asyncio.run(backend.stop())
    assert backend.activity().running == 0


def test_the_kinds_of_repairs_are_words():
    assert all(kind == kind.lower() and "_" not in kind for kind in REPAIRS)


def test_a_parameter_of_the_contract_needs_no_passing_through():
    with pytest.raises(BackendLoadError, match="'temperature' is a parameter of the contract"):
        Upstream(
            ModelSettings(
                id="x", backend="upstream", source="http://127.0.0.1:9/v1", options={"pass_through": ["temperature"]}
            )
        )
