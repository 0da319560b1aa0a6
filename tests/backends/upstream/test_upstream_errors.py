"""What an upstream's failures are for the client."""

import json

import pytest
from stand_in import HEAD, USAGE, ask, chunk, complete, embed, good, plain, reply, stream

from specserve.spec.errors import (
    BadGateway,
    InvalidRequest,
    UnsupportedParameter,
    UpstreamBreach,
    UpstreamRefused,
    UpstreamUnreachable,
)


def envelope(message="No.", kind="invalid_request_error", param=None, code=None, **more):
    return {"error": {"message": message, "type": kind, "param": param, "code": code, **more}}


def failure(answer, **body):
    error = ask(answer, **body).error
    assert error is not None
    return error, json.loads(error.to_json())["error"]


@pytest.mark.parametrize("streamed", [True, False])
def test_a_refused_request_keeps_status_type_param_and_code(streamed):
    sent = envelope("Too long.", param="messages", code="context_length_exceeded")
    error, body = failure(reply(sent, 400), stream=streamed)
    assert error.status == 400
    assert {"error": body} == sent


@pytest.mark.parametrize("status", [401, 402, 403])
def test_a_wrong_key_of_ours_is_never_the_clients(status):
    error, body = failure(reply(envelope("Incorrect API key provided: sk-ours", code="invalid_api_key"), status))
    assert (error.status, body["code"], body["type"]) == (502, "upstream_refused", "server_error")
    assert "sk-ours" not in body["message"]


def test_a_redirect_is_not_followed():
    outcome = ask(reply("", 307, {"location": "http://127.0.0.1:1/v1/chat/completions"}))
    assert isinstance(outcome.error, UpstreamRefused)


def test_a_rate_limit_stays_one_with_its_time():
    error, body = failure(reply(envelope("Slow down.", "rate_limit_error"), 429, {"retry-after": "70"}))
    assert (error.status, error.retry_after, body["type"]) == (429, 70, "rate_limit_error")
    error, _ = failure(reply(envelope(), 429, {"retry-after": "Sat, 21 Nov 2048 00:00:00 GMT"}))
    assert error.retry_after is None, "nobody waits for decades"
    error, _ = failure(reply(envelope(), 429, {"retry-after": "Fri, 21 Nov 2025 00:00:00 GMT"}))
    assert error.retry_after == 1
    error, _ = failure(reply(envelope(), 429, {"retry-after": "soon"}))
    assert error.retry_after is None


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [(404, 404), (408, 504), (413, 413), (422, 400), (418, 502), (500, 502), (501, 503), (503, 503), (529, 503)],
)
def test_a_status_tells_whose_fault_it_is(theirs, ours):
    error, _ = failure(reply(envelope("The model is not here."), theirs))
    assert error.status == ours


def test_a_missing_model_is_not_found_and_a_missing_path_is_the_operators_fault():
    error, body = failure(reply(envelope('model "x" not found, try pulling it first', "api_error"), 404))
    assert (error.status, body["code"], body["param"]) == (404, "model_not_found", "model")
    error, body = failure(reply({"detail": "Not Found"}, 404))
    assert (error.status, body["code"]) == (502, "upstream_refused")


SHAPES = [
    ({"error": "No."}, None),
    ({"detail": "No."}, None),
    ({"detail": [{"loc": ["body", "messages", 0, "role"], "msg": "No.", "type": "missing"}]}, "messages[0].role"),
    ({"object": "error", "message": "No.", "type": "BadRequestError", "param": "n", "code": 400}, "n"),
    (envelope("No.", "BadRequestError", "n", 400), "n"),
    ({"error": {"message": "No.", "code": 400}}, None),
]


@pytest.mark.parametrize(("sent", "param"), SHAPES)
def test_errors_of_every_shape_come_in_the_envelope(sent, param):
    outcome = ask(reply(sent, 400))
    assert outcome.repairs == {"error-shape"}
    body = json.loads(outcome.error.to_json())["error"]
    assert body == {"message": "No.", "type": "invalid_request_error", "param": param, "code": None}


@pytest.mark.parametrize("sent", ["<html>no</html>", "", "[]", b"\xff", "x" * 100_000, "null"])
def test_an_error_that_is_no_json_has_still_an_envelope(sent):
    error, body = failure(reply(sent, 500))
    assert error.status == 502
    assert body["message"]
    assert len(error.to_json()) < 2048


def test_a_long_message_is_cut_and_a_key_in_it_is_hidden(monkeypatch):
    monkeypatch.setenv("STAND_IN_KEY", "sk-secret-0123456789")
    outcome = ask(
        reply(envelope("You sent sk-secret-0123456789 and " + "x" * 5000), 400), options={"api_key_env": "STAND_IN_KEY"}
    )
    assert "sk-secret" not in outcome.error.message
    assert len(outcome.error.to_json()) < 2048


def test_a_parameter_is_named_as_the_client_named_it():
    sent = envelope("No.", param="messages[0].content")
    assert ask(reply(sent, 400), prompt="hi").error.param == "prompt"
    assert ask(reply(sent, 400)).error.param == "messages[0].content"
    options = {"rename": {"max_completion_tokens": "max_tokens"}}
    renamed = ask(reply(envelope("No.", param="max_tokens"), 400), options=options, max_completion_tokens=1)
    assert renamed.error.param == "max_completion_tokens"


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (envelope("No.", "BadRequestError", None, 400), 400),
        (envelope("No.", "invalid_request_error"), 400),
        (envelope("Busy.", "rate_limit_error"), 429),
        (envelope("Broken.", "server_error"), 502),
        ({"error": "broken"}, 502),
    ],
)
def test_an_error_as_the_first_event_is_told_by_status(sent, status):
    outcome = ask(stream(sent), stream=True)
    assert not outcome.data
    assert outcome.error.status == status


@pytest.mark.parametrize("event", [b'event: error\ndata: {"error": {"message": "Broken."}}\n\n', {"error": "broken"}])
def test_an_error_amid_a_stream_ends_it_after_what_came_before(event):
    outcome = ask(stream(*good("hello")[:2], event), stream=True)
    assert [one["choices"][0]["delta"] for one in outcome.events] == [
        {"role": "assistant", "content": ""},
        {"content": "hello"},
    ]
    assert isinstance(outcome.error, BadGateway)
    assert outcome.error.status == 502


BREACHES = [
    reply("nonsense"),
    reply("[]"),
    reply({}),
    reply(plain() | {"choices": []}),
    reply(plain() | {"choices": "x"}),
    reply(plain() | {"choices": [{"index": 0}]}),
    reply(plain({"role": "assistant", "content": 5})),
    reply(plain(finish="whatever")),
    reply(plain(usage=[1])),
    reply(b'{"id": "\xff"}'),
]


@pytest.mark.parametrize("answer", BREACHES)
def test_what_cannot_be_mended_is_a_bad_gateway(answer):
    error, body = failure(answer)
    assert isinstance(error, UpstreamBreach)
    assert (error.status, body["code"]) == (502, "upstream_breach")


EVENTS = [
    b"data: nonsense\n\n",
    b"data: []\n\n",
    b'data: {"choices": [5]}\n\n',
    b"data: \xff\n\n",
    chunk({"content": 5}),
    chunk(finish="whatever"),
    {**HEAD, "choices": [chunk()["choices"][0], {"index": 1, "delta": {}, "finish_reason": None}]},
]


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("begun", [True, False])
def test_an_event_that_cannot_be_mended_does_not_go_out(event, begun):
    outcome = ask(stream(*good("hello")[: 2 * begun], event), stream=True)
    assert isinstance(outcome.error, UpstreamBreach)
    assert len(outcome.events) == 2 * begun


@pytest.mark.parametrize("reason", ["error", "abort"])
def test_an_answer_that_was_given_up_is_no_answer(reason):
    assert isinstance(ask(reply(plain(finish=reason))).error, BadGateway)
    assert isinstance(ask(stream(chunk({"content": "x"}), chunk(finish=reason)), stream=True).error, BadGateway)


def test_text_after_the_end_is_a_breach():
    outcome = ask(stream(*good("hello")[:3], chunk({"content": "more"})), stream=True)
    assert isinstance(outcome.error, UpstreamBreach)
    words = {**HEAD, "object": "text_completion"}
    ended = {"index": 0, "text": "x", "logprobs": None, "finish_reason": "stop"}
    outcome = ask(stream({**words, "choices": [ended]}, {**words, "choices": [ended]}), operation=complete, stream=True)
    assert isinstance(outcome.error, UpstreamBreach)


@pytest.mark.parametrize("cut", [True, False])
def test_a_stream_that_is_cut_off_does_not_end_well(cut):
    outcome = ask(stream(*good("hello")[:2], done=False, cut=cut), stream=True)
    assert len(outcome.events) == 2
    assert isinstance(outcome.error, UpstreamUnreachable)


def test_fewer_answers_than_asked_for_are_no_answer():
    assert isinstance(ask(reply(plain()), n=2).error, UpstreamBreach)
    outcome = ask(stream(*good("hello")), stream=True, n=2)
    assert isinstance(outcome.error, UpstreamBreach)
    vector = {"object": "embedding", "index": 0, "embedding": [0.5]}
    sent = {"object": "list", "data": [vector], "usage": {"prompt_tokens": 1, "total_tokens": 1}}
    assert isinstance(ask(reply(sent), operation=embed, input=["a", "b"]).error, UpstreamBreach)
    twice = {**sent, "data": [vector, vector]}
    assert isinstance(ask(reply(twice), operation=embed, input=["a", "b"]).error, UpstreamBreach)
    odd = {**sent, "data": [{**vector, "embedding": "AAA"}]}
    assert isinstance(ask(reply(odd), operation=embed).error, UpstreamBreach)


def test_usage_that_was_asked_for_and_is_nowhere_ends_the_stream_with_an_error():
    sent = stream(*good("hello")[:-1])
    assert ask(sent, stream=True).error is None
    outcome = ask(sent, stream=True, stream_options={"include_usage": True})
    assert isinstance(outcome.error, UpstreamBreach)
    outcome = ask(sent, stream=True, stream_options={"include_usage": True}, options={"stream_usage": False})
    assert isinstance(outcome.error, UnsupportedParameter)
    assert outcome.error.param == "stream_options.include_usage"


def test_too_much_is_a_breach():
    large = {"max_answer_bytes": 2000, "max_event_bytes": 2000}
    assert isinstance(ask(reply(plain(padding="x" * 3000)), options=large).error, UpstreamBreach)
    assert isinstance(ask(stream(chunk(padding="x" * 3000)), stream=True, options=large).error, UpstreamBreach)
    assert isinstance(ask(stream(b"data: " + b"x" * 3000), stream=True, options=large).error, UpstreamBreach)
    assert ask(stream(*good(*["x" * 500] * 20)), stream=True, options=large).error is None


def test_a_choice_of_a_tool_that_is_not_offered_is_refused_here():
    tool = {"type": "function", "function": {"name": "f"}}
    chosen = {"type": "function", "function": {"name": "g"}}
    outcome = ask(reply(plain()), tools=[tool], tool_choice=chosen)
    assert isinstance(outcome.error, InvalidRequest)
    assert outcome.error.param == "tool_choice"
    assert ask(reply(plain(usage=USAGE)), tools=[tool], tool_choice={**chosen, "function": {"name": "f"}}).error is None
