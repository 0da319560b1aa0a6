"""Bad requests: the OpenAI envelope with the right status, `param` and code, on every path."""

import json
import socket
import time

import httpx
import pytest

CHAT = {"model": "echo", "messages": [{"role": "user", "content": "Hello there"}]}


def chat(echo, **changes):
    body = {name: value for name, value in {**CHAT, **changes}.items() if value is not ...}
    return echo.post("/v1/chat/completions", json=body)


def check(response, status, code, param=None):
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"]
    body = response.json()
    assert set(body) == {"error"}
    error = body["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == code
    assert error["param"] == param
    assert 0 < len(error["message"]) < 1000


@pytest.mark.parametrize(
    ("changes", "code", "param"),
    [
        ({"messages": ...}, "missing_required_parameter", "messages"),
        ({"model": ...}, "missing_required_parameter", "model"),
        ({"model": 3}, "invalid_type", "model"),
        ({"messages": []}, "invalid_value", "messages"),
        ({"messages": "hello"}, "invalid_type", "messages"),
        ({"messages": [{"role": "user", "content": 3}]}, "invalid_type", "messages[0].content"),
        ({"messages": [{"role": "user"}]}, "missing_required_parameter", "messages[0].content"),
        ({"messages": [{"content": "x"}]}, "missing_required_parameter", "messages[0].role"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "invalid_value", "messages[0].role"),
        (
            {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
            "missing_required_parameter",
            "messages[0].content[0].text",
        ),
        ({"temperature": "hot"}, "invalid_type", "temperature"),
        ({"temperature": 2.1}, "invalid_value", "temperature"),
        ({"top_p": -0.1}, "invalid_value", "top_p"),
        ({"n": 0}, "invalid_value", "n"),
        ({"n": 1.5}, "invalid_type", "n"),
        ({"stop": ["a"] * 5}, "invalid_value", "stop"),
        ({"top_logprobs": 21, "logprobs": True}, "invalid_value", "top_logprobs"),
        ({"max_tokens": 0}, "invalid_value", "max_tokens"),
        ({"stream": "yes"}, "invalid_type", "stream"),
        ({"stream": True, "stream_options": {"colour": 1}}, "unknown_parameter", "stream_options.colour"),
        ({"stream_options": {"include_usage": True}}, None, "stream_options"),
        ({"response_format": {"type": "poem"}}, "invalid_value", "response_format.type"),
        ({"colour": 1}, "unknown_parameter", "colour"),
        ({"prompt": "x"}, "invalid_value", "prompt"),
        ({"logit_bias": {"5": -100}}, "unsupported_parameter", "logit_bias"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]},
            "unsupported_parameter",
            "messages[0].content[0]",
        ),
    ],
    ids=lambda value: json.dumps(value, default=str)[:60] if isinstance(value, dict) else None,
)
def test_a_bad_request_names_its_field(echo, changes, code, param):
    check(chat(echo, **changes), 400, code, param)


def test_an_unknown_model_is_not_found(echo):
    for path, body in [
        ("/v1/chat/completions", {**CHAT, "model": "no/such"}),
        ("/v1/completions", {"model": "no/such", "prompt": "x"}),
        ("/v1/embeddings", {"model": "no/such", "input": "x"}),
    ]:
        check(echo.post(path, json=body), 404, "model_not_found", "model")
    check(echo.get("/v1/models/no/such"), 404, "model_not_found", "model")


def test_a_prompt_that_is_too_long_says_so(echo):
    long = "word " * 20_000
    for stream in (False, True):
        response = chat(echo, messages=[{"role": "user", "content": long}], stream=stream)
        check(response, 400, "context_length_exceeded", "messages")
    response = echo.post("/v1/completions", json={"model": "echo", "prompt": long})
    check(response, 400, "context_length_exceeded", "prompt")


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        pytest.param(b"", 400, None, id="empty"),
        pytest.param(b"{", 400, None, id="cut"),
        pytest.param(b"[" * 5000, 400, None, id="deep"),
        pytest.param(b"\xff\xfe", 400, None, id="not utf-8"),
        pytest.param(b"[]", 400, "invalid_type", id="array"),
        pytest.param(b"null", 400, "invalid_type", id="null"),
        pytest.param(b'{"model": NaN}', 400, None, id="nan"),
        pytest.param(b'{"model": "\\ud800"}', 400, None, id="surrogate"),
    ],
)
def test_a_body_that_is_not_a_json_object_is_refused(echo, content, status, code):
    check(
        echo.post("/v1/chat/completions", content=content, headers={"content-type": "application/json"}), status, code
    )


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1"]
)
def test_another_content_type_is_refused(echo, content_type):
    response = echo.post("/v1/chat/completions", content=json.dumps(CHAT), headers={"content-type": content_type})
    check(response, 415, "unsupported_media_type")


def test_a_body_sent_in_chunks_without_a_length_is_read(echo):
    def parts():
        text = json.dumps(CHAT).encode()
        yield text[:10]
        yield text[10:]

    response = echo.post("/v1/chat/completions", content=parts(), headers={"content-type": "application/json"})
    assert "content-length" not in response.request.headers
    assert response.status_code == 200


def test_unknown_paths_and_wrong_methods_get_the_envelope(echo):
    check(echo.get("/nowhere"), 404, "unknown_url")
    check(echo.get("/v1/nowhere"), 404, "unknown_url")
    check(echo.get("/v1"), 404, "unknown_url")
    for path, method, allow in [
        ("/v1/chat/completions", "GET", "POST"),
        ("/chat/completions", "DELETE", "POST"),
        ("/v1/models", "PUT", "GET, HEAD, POST"),
        ("/v1/models/echo", "DELETE", "GET, HEAD"),
        ("/health", "POST", "GET, HEAD"),
        ("/docs/", "POST", "GET, HEAD"),
    ]:
        response = echo.request(method, path)
        check(response, 405, "method_not_allowed")
        assert response.headers["allow"] == allow


def test_a_body_over_the_limit_is_refused_before_it_is_read(echo_server):
    """Only the head of the request is sent: whoever waits for the body would wait for ever."""
    host, _, port = echo_server.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: 99999999999\r\n\r\n"
        )
        answer = b"".join(iter(lambda: connection.recv(65536), b""))  # until the server closes
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"request_too_large" in answer


def test_a_body_over_the_limit_in_chunks_is_cut_off(echo):
    sent = 0

    def parts():
        nonlocal sent
        for _ in range(200):
            sent += 1
            yield b"x" * 1_000_000
            time.sleep(0.005)

    headers = {"content-type": "application/json"}
    try:
        response = echo.post("/v1/chat/completions", content=parts(), headers=headers)
    except httpx.WriteError:  # the server has answered and closed while we still wrote
        assert sent < 200
    else:
        check(response, 413, "request_too_large")


def test_messages_never_echo_the_input(echo):
    secret = "s3cr3t-" * 50
    for changes in [
        {"model": secret},
        {"temperature": secret},
        {"messages": secret},
        {"messages": [{"role": secret, "content": "x"}]},
        {"response_format": {"type": secret}},
        {"stop": [1, secret]},
        {"max_tokens": {secret: secret}},
    ]:
        response = chat(echo, **changes)
        assert response.status_code in {400, 404}
        assert "s3cr3t" not in response.text


def test_the_request_id_of_the_client_is_kept_if_sane(echo):
    assert chat(echo).headers["x-request-id"].startswith("req_")
    response = echo.post("/v1/chat/completions", json=CHAT, headers={"x-request-id": "my-id.7"})
    assert response.headers["x-request-id"] == "my-id.7"
    assert response.json()["id"] != "my-id.7"
    response = echo.post("/v1/chat/completions", json=CHAT, headers={"x-request-id": "bad id " * 100 + "x"})
    assert response.headers["x-request-id"].startswith("req_")


def test_completion_ids_are_unique_whatever_the_request_id(echo):
    ids = {
        echo.post("/v1/chat/completions", json={**CHAT, "user": "u"}, headers={"x-request-id": "same"}).json()["id"]
        for _ in range(50)
    }
    assert len(ids) == 50


def test_every_path_answers_with_and_without_v1(echo):
    assert echo.post("/chat/completions", json=CHAT).status_code == 200
    for path in ("/models", "/models/echo", "/health"):
        bare, versioned = echo.get(path), echo.get(f"/v1{path}")
        assert bare.status_code == versioned.status_code == 200
        assert bare.json() == versioned.json()
    assert echo.post("/models").json() == echo.post("/v1/models", json={}).json() == echo.get("/v1/models").json()
