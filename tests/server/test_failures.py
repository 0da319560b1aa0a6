"""A backend that fails, before and after the first byte, and answers that break the contract."""

import json
from pathlib import Path

import httpx
import pytest
from lives import until
from servers import running

TESTS = str(Path(__file__).parent.parent)


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    config = tmp_path_factory.mktemp("broken") / "specserve.toml"
    config.write_text('[[models]]\nid = "broken"\nbackend = "broken_backend:Broken"\n')
    with running("--config", str(config), "--validate-responses", environ={"PYTHONPATH": TESTS}) as server:
        yield server


def ask(server, how, **more):
    body = {"model": "broken", "messages": [{"role": "user", "content": how}], **more}
    return httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=60, trust_env=False)


def events(answer):
    return [event.removeprefix("data: ") for event in answer.text.split("\n\n") if event]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("how", "status", "code"),
    [("refuse", 400, None), ("crash first", 500, None)],
)
def test_an_error_before_the_first_chunk_is_a_plain_response(broken, how, status, code, stream):
    answer = ask(broken, how, stream=stream)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["error"]["code"] == code
    assert "secret" not in answer.text


@pytest.mark.parametrize("how", ["crash", "fail"])
def test_an_error_in_a_stream_is_an_event_and_then_the_end(broken, how):
    answer = ask(broken, how, stream=True)
    assert answer.status_code == 200
    *_, last = events(answer)
    error = json.loads(last)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == ("engine_failure" if how == "fail" else None)
    assert "[DONE]" not in answer.text
    assert "secret" not in answer.text


@pytest.mark.parametrize("how", ["crash", "fail"])
def test_an_error_in_the_middle_of_a_plain_answer_is_a_500(broken, how):
    answer = ask(broken, how)
    assert answer.status_code == 500
    assert answer.json()["error"]["type"] == "server_error"


def test_an_answer_that_breaks_the_contract_does_not_leave_the_server(broken):
    answer = ask(broken, "bad end")
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "non_conforming_response"
    assert "choices[0].finish_reason" in answer.json()["error"]["message"]


@pytest.mark.parametrize("how", ["bad chunk", "bad end"])
def test_an_event_that_breaks_the_contract_does_not_leave_the_server(broken, how):
    answer = ask(broken, how, stream=True)
    *_, last = events(answer)
    assert json.loads(last)["error"]["code"] == "non_conforming_response"
    assert "robot" not in answer.text


def test_nothing_is_left_running_when_the_client_leaves_a_hanging_backend(broken):
    for stream in (False, True):
        body = {"model": "broken", "stream": stream, "messages": [{"role": "user", "content": "hang"}]}
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{broken.url}/v1/chat/completions", json=body, timeout=0.7, trust_env=False)
        assert until(lambda: broken.health()["num_requests_running"] == 0)
    assert any("disconnected" in line for line in broken.output)
    assert not any("crashed" in line and "hang" in line for line in broken.output)
