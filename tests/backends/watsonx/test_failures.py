"""What goes wrong at IBM, as the client sees it."""

import asyncio
import time

import pytest
from openai import APIError as ClientError
from openai import OpenAI
from watsonx_cloud import CHAT, EMBED, LANGUAGE, running_cloud
from watsonx_cloud.app import Fault
from watsonx_models import CALL, ask, chat, chat_request, complete, content, embed, model

from specserve.backends.watsonx.failures import client_error, read_problem
from specserve.spec.errors import (
    APIError,
    BadGateway,
    ContextLengthExceeded,
    InvalidRequest,
    ModelNotFound,
    Overloaded,
    RequestTooLarge,
    Unavailable,
    UpstreamBreach,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnreachable,
)

NO_RETRIES = {"max_retries": 0}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (400, "invalid_request_entity", InvalidRequest),
        (401, "authentication_token_expired", UpstreamRefused),
        (403, "user_authorization_failed", UpstreamRefused),
        (403, "token_quota_reached", Overloaded),
        (404, "model_not_supported", ModelNotFound),
        (404, "not_found", BadGateway),
        (408, "timeout", UpstreamTimeout),
        (413, "too_large", RequestTooLarge),
        (429, "rate_limit_reached_requests", Overloaded),
        (500, "downstream_request_failed", BadGateway),
        (503, "service_unavailable", Unavailable),
        (504, "timeout", UpstreamTimeout),
        (302, "moved", BadGateway),
    ],
)
def test_each_refusal_has_its_status(cloud, status, code, expected, stream):
    secret = f"key {cloud.api_key} of project {cloud.project_id}"
    times = 2 if status == 401 else 1  # which is tried once more, with another token
    fault = Fault(status=status, code=code, message=secret, headers={"location": "/", "retry-after": "7"})
    cloud.faults.extend([fault] * times)
    with pytest.raises(APIError) as caught:
        ask(cloud, chat, options=NO_RETRIES, stream=stream)
    assert type(caught.value) is expected
    if status != 400:
        assert cloud.api_key not in caught.value.message
        assert cloud.project_id not in caught.value.message
    if status in (429, 503):
        assert caught.value.retry_after == 7


@pytest.mark.parametrize(
    ("message", "asked", "expected"),
    [
        (
            "Json document validation error: tools[0].function.parameters: at '/a'",
            {"tools"},
            "tools[0].function.parameters",
        ),
        ("Missing json field response_format.type in request entity", {"response_format"}, "response_format.type"),
        (
            "Json document validation error: parameters.repetition_penalty: no",
            {"repetition_penalty"},
            "repetition_penalty",
        ),
        ("Json document validation error: parameters.random_seed: no", {"seed"}, "seed"),
        ("Json document validation error: stop_sequences[4]: no", {"stop"}, "stop[4]"),
        ("max_completion_tokens must not be so large", {"max_completion_tokens"}, "max_completion_tokens"),
        ("'temperature' is out of its bounds", {"temperature"}, "temperature"),
        ("only one of tool_choice_option or tool_choice", {"tool_choice"}, "tool_choice"),
        ("Json document validation error: inputs[3]: empty", {"input"}, "input[3]"),
        ("You must not stop here", {"stop"}, None),
        ("The model fails", {"model"}, None),
        ("", {"model"}, None),
        ("top_p is wrong", {"model"}, None),
    ],
)
def test_the_parameter_that_ibm_names_is_named_as_ours(message, asked, expected):
    error = client_error(read_problem(400, _said("json_validation_error", message)), asked=asked, text="messages")
    assert type(error) is InvalidRequest
    assert error.param == expected


@pytest.mark.parametrize(
    "message",
    [
        "Token sequence length is longer than the specified maximum sequence length for this model (1336 > 512).",
        "the number of input tokens 5000 cannot exceed the total tokens limit 4096 for this model",
        "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens.",
        "input tokens (5000) plus prefix length (0) must not exceed 4096 tokens",
    ],
)
def test_a_text_that_is_too_long_is_told_as_that(message):
    error = client_error(read_problem(400, _said("invalid_input_argument", message)), asked={}, text="prompt")
    assert type(error) is ContextLengthExceeded
    assert error.param == "prompt"


def _said(code, message):
    return f'{{"errors": [{{"code": "{code}", "message": "{message}"}}], "trace": "t", "status_code": 400}}'.encode()


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b'{"errors": []}', b'{"errors": [7]}', b'{"errors": {"a": 1}}']
)
def test_an_error_that_is_not_understood_is_still_one(body):
    assert type(client_error(read_problem(400, body), asked=(), text="input")) is InvalidRequest
    assert type(client_error(read_problem(500, body), asked=(), text="input")) is BadGateway


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("3", 3),
        ("2.1", 3),
        ("-1", None),
        ("inf", None),
        ("soon", None),
        ("999999", None),
        ("Thu, 01 Jan 1970 00:00:20 GMT", 10),
    ],
)
def test_retry_after_is_seconds_or_a_date(header, expected):
    assert read_problem(429, b"", retry_after=header, now=10).retry_after == expected


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_service_is_asked_again(cloud, status, stream):
    cloud.faults.extend([Fault(status=status, headers={"retry-after": "0"})] * 2)
    assert content(ask(cloud, chat, stream=stream)) == "Hello there"


def test_it_is_asked_again_only_so_often_and_not_if_it_wants_to_be_left_alone(cloud):
    before = len(cloud.asked)
    cloud.faults.extend([Fault(status=503, headers={"retry-after": "0"})] * 3)
    with pytest.raises(Unavailable):
        ask(cloud, chat)
    assert len(cloud.asked) - before == 3
    cloud.faults.append(Fault(status=429, headers={"retry-after": "60"}))
    with pytest.raises(Overloaded) as caught:
        ask(cloud, chat)
    assert caught.value.retry_after == 60
    assert len(cloud.asked) - before == 4


def test_what_fails_for_another_reason_is_not_repeated(cloud):
    before = len(cloud.asked)
    cloud.faults.append(Fault(status=500))
    with pytest.raises(BadGateway):
        ask(cloud, complete, "geese", source=LANGUAGE)
    cloud.faults.append(Fault(status=400))
    with pytest.raises(InvalidRequest):
        ask(cloud, embed, "geese", source=EMBED)
    assert len(cloud.asked) - before == 2


def test_a_service_that_cannot_be_reached(cloud):
    async def go():
        async with model(cloud, max_retries=1) as backend:
            backend._client._access = type(backend._access)(
                "http://127.0.0.1:9", "", backend._access.api_key, {}, "2025-02-06"
            )
            with pytest.raises(UpstreamUnreachable) as caught:
                await chat(backend)
            assert "127.0.0.1" not in str(caught.value)

    asyncio.run(go())


def test_a_service_that_says_nothing(cloud):
    cloud.faults.append(Fault(hang=3))
    with pytest.raises(UpstreamTimeout):
        ask(cloud, chat, options={"idle_timeout": 0.2})
    while cloud.working:
        time.sleep(0.02)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"choices": 7}', b'{"choices": []}', b'{"choices": [{"index": 3}]}']
)
def test_an_answer_that_is_none(cloud, body):
    cloud.faults.append(Fault(body=body))
    with pytest.raises(BadGateway):
        ask(cloud, chat)


def test_a_plain_answer_that_breaks_off(cloud):
    cloud.faults.append(Fault(after=0))
    with pytest.raises(UpstreamUnreachable, match="broke off"):
        ask(cloud, chat)


@pytest.mark.parametrize("after", [0, 1, 3])
@pytest.mark.parametrize("status", [0, 400, 429, 500])
def test_a_stream_that_breaks_off_or_fails_never_ends_well(cloud, status, after):
    cloud.faults.append(Fault(status=status, after=after))
    expected = {0: UpstreamUnreachable, 400: InvalidRequest, 429: Overloaded, 500: BadGateway}[status]
    with pytest.raises(expected):
        ask(cloud, chat, stream=True)
    cloud.faults.append(Fault(status=status, after=after))
    with pytest.raises(expected):
        ask(cloud, complete, "one two three four", source=LANGUAGE, stream=True)


def test_one_of_several_texts_that_fails_ends_all(cloud):
    cloud.faults.extend([Fault(), Fault(status=500, after=2)])
    with pytest.raises(BadGateway):
        ask(cloud, complete, [f"one two {number}" for number in range(20)], source=LANGUAGE, stream=True)
    while cloud.working:
        time.sleep(0.02)


def test_a_stream_without_its_end_is_told_to_the_client_as_an_error(cloud, server, http):
    with OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        for model_id, create in ((CHAT, client.chat.completions.create), (LANGUAGE, client.completions.create)):
            asked = (
                {"messages": [{"role": "user", "content": "one two"}]} if model_id == CHAT else {"prompt": "one two"}
            )
            cloud.faults.append(Fault(after=2))
            with pytest.raises(ClientError, match="broke off"):
                list(create(model=model_id, stream=True, **asked))
    lines = http.post(
        "/v1/chat/completions",
        json={"model": CHAT, "stream": True, "messages": [{"role": "user", "content": "Hi"}]},
    ).text
    assert lines.endswith("data: [DONE]\n\n")


def test_a_client_that_leaves_closes_the_connection():
    async def go():
        with running_cloud(event_delay=0.05) as cloud:
            async with model(cloud) as backend:
                chunks = backend.chat(chat_request("geese " * 2000, stream=True), CALL)
                for _ in range(3):
                    await anext(chunks)
                assert backend.activity().running == cloud.working == 1
                await chunks.aclose()
                assert backend.activity().running == 0
                async with asyncio.timeout(60):
                    while cloud.working:
                        await asyncio.sleep(0.02)
                assert cloud.left == 1
                # Before the first byte, too.
                cloud.answer_delay = 600
                task = asyncio.create_task(chat(backend))
                async with asyncio.timeout(60):
                    while not cloud.working:
                        await asyncio.sleep(0.02)
                task.cancel()
                await asyncio.wait([task])
                assert backend.activity().running == 0
                cloud.answer_delay = 0
                assert content(await chat(backend)) == "Hello there"

    asyncio.run(go())


def test_stopping_ends_what_runs():
    async def go():
        with running_cloud(event_delay=0.05) as cloud:
            async with model(cloud) as backend:

                async def begun(count, tasks):
                    async with asyncio.timeout(60):
                        while cloud.working < count:
                            assert not any(task.done() for task in tasks), tasks
                            await asyncio.sleep(0.02)

                stream = asyncio.create_task(chat(backend, "geese " * 2000, stream=True))
                await begun(1, [stream])
                cloud.answer_delay = 600
                plain = asyncio.create_task(chat(backend))
                await begun(2, [stream, plain])
                await backend.stop()
                for task in (stream, plain):
                    with pytest.raises(Unavailable):
                        await task

    asyncio.run(go())


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([{"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": "error"}]}], BadGateway),
        ([{"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": "cancelled"}]}], UpstreamUnreachable),
        ([{"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": "bored"}]}], UpstreamBreach),
        ([{"choices": [{"index": 0, "delta": {"content": "a"}}]}], UpstreamUnreachable),
        ([{"choices": [{"index": 1, "delta": {"content": "a"}}]}], UpstreamBreach),
        ([{"choices": [7]}], UpstreamBreach),
        ([{"choices": [{"index": 0, "delta": {}, "logprobs": {"content": [{"token": 7}]}}]}], UpstreamBreach),
        ([[]], UpstreamBreach),
        ([], UpstreamUnreachable),
    ],
)
def test_events_that_make_no_answer(cloud, events, expected):
    cloud.faults.append(Fault(events=events))
    with pytest.raises(expected):
        ask(cloud, chat, stream=True)


def test_an_answer_that_ibm_stops_for_its_time_is_cut(cloud):
    cloud.faults.append(
        Fault(events=[{"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": "time_limit"}]}])
    )
    chunks = ask(cloud, chat, stream=True)
    assert chunks[-2]["choices"][0]["finish_reason"] == "length"
    assert chunks[-1]["usage"]["total_tokens"] == 0  # IBM may leave it out; the log says so


def test_no_key_and_no_token_is_ever_logged_or_shown(cloud, server, http):
    body = {"model": CHAT, "messages": [{"role": "user", "content": "Hi"}]}
    said = [http.post("/v1/chat/completions", json=body)]
    for fault in (Fault(status=400), Fault(status=403), Fault(status=500), Fault(after=0)):
        cloud.faults.append(fault)
        said.append(http.post("/v1/chat/completions", json=body))
    cloud.faults.append(Fault(status=500, after=1))
    said.append(http.post("/v1/chat/completions", json=body | {"stream": True}))
    secrets = [cloud.first_key, *cloud.tokens]
    cloud.api_key = "another"
    cloud.revoke()
    said.append(http.post("/v1/chat/completions", json=body))
    cloud.api_key = cloud.first_key
    said.append(http.post("/v1/chat/completions", json=body))
    assert "BXNIM0415E" in said[-1].text, "IAM is left alone for a moment after it failed"
    while (again := http.post("/v1/chat/completions", json=body)).status_code != 200:
        time.sleep(0.1)
    said[-1] = again
    assert [answer.status_code for answer in said] == [200, 400, 502, 502, 502, 200, 502, 200]
    assert "BXNIM0415E" in said[-2].text
    shown = "".join([*server.output, *(answer.text for answer in said)])
    assert "refused by the service" in shown
    assert not [secret for secret in (*secrets, *cloud.tokens) if secret in shown]


def test_nothing_shows_the_key(cloud):
    async def go():
        async with model(cloud) as backend:
            shown = repr([vars(backend), vars(backend._account), vars(backend._account.tokens), vars(backend._client)])
            assert cloud.api_key not in shown
            assert not [token for token in cloud.tokens if token in shown]

    asyncio.run(go())
