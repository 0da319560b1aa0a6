"""`unknown_parameters = "ignore"`: dropped, and said so."""

import pytest
from lives import until
from servers import running


@pytest.fixture(scope="module")
def lenient():
    with running("--model", "echo", "--unknown-parameters", "ignore", "--validate-responses") as server:
        yield server


def test_what_is_ignored_is_named_in_a_header_and_in_the_log(lenient):
    body = {
        "model": "echo",
        "colour": "red",
        "messages": [{"role": "user", "content": "hi", "mood": "good"}, {"role": "user", "content": "ho"}],
        "stream_options": {"include_usage": True, "speed": 3},
        "stream": True,
    }
    with lenient.client() as client:
        answer = client.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200
    named = answer.headers["x-specserve-ignored-parameters"].split(", ")
    assert sorted(named) == ["colour", "messages[0].mood", "stream_options.speed"]
    assert until(lambda: any("ignored unknown parameters" in line and "colour" in line for line in lenient.output))


def test_nothing_is_said_when_nothing_is_ignored(lenient):
    with lenient.client() as client:
        answer = client.post(
            "/v1/chat/completions", json={"model": "echo", "messages": [{"role": "user", "content": "x"}]}
        )
    assert "x-specserve-ignored-parameters" not in answer.headers


def test_everything_else_is_still_validated(lenient):
    with lenient.client() as client:
        wrong = {"model": "echo", "colour": "red", "messages": [{"role": "user", "content": 3, "mood": 1}]}
        answer = client.post("/v1/chat/completions", json=wrong)
        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == "messages[0].content"
        biased = {"model": "echo", "messages": [{"role": "user", "content": "x"}], "logit_bias": {"5": -100}}
        assert client.post("/v1/chat/completions", json=biased).json()["error"]["code"] == "unsupported_parameter"


def test_a_hostile_key_cannot_break_the_header(lenient):
    body = {"model": "echo", "a\r\nx-evil: 1": 1, "ключ, другой": 2, "messages": [{"role": "user", "content": "x"}]}
    with lenient.client() as client:
        answer = client.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200
    assert "x-evil" not in answer.headers
    assert answer.headers["x-specserve-ignored-parameters"].count(",") == 1
