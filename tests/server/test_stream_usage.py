"""Which chunks of a stream carry the usage: none, the last, or each with the usage so far."""

from pathlib import Path

import httpx
import pytest
from folding import events
from servers import running

TESTS = str(Path(__file__).parent.parent)
TEXT = "hello there, world"
CHAT = {"messages": [{"role": "user", "content": TEXT}]}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
EACH = {"include_usage": True, "continuous_usage_stats": True}

REQUESTS = {
    "a chat": CHAT,
    "several answers": CHAT | {"n": 3},
    "scored tokens": CHAT | {"logprobs": True},
    "tools": CHAT | {"tools": [TOOL]},
    "a forced call": CHAT | {"tools": [TOOL], "tool_choice": "required"},
    "as guidellm asks": CHAT | {"max_completion_tokens": 5, "ignore_eos": True, "stop": None},
    "a completion": {"prompt": TEXT},
    "several prompts": {"prompt": [TEXT, "x"], "n": 2},
    "an echoed prompt": {"prompt": TEXT, "echo": True, "logprobs": 1},
}


def chunks(client, request, options, model="echo"):
    path = "/v1/chat/completions" if "messages" in request else "/v1/completions"
    body = {"model": model, **request, "stream": True}
    answer = client.post(path, json=body if options is None else body | {"stream_options": options})
    assert answer.status_code == 200, answer.text
    return events(answer)


@pytest.mark.parametrize("name", REQUESTS)
def test_each_chunk_carries_the_usage_so_far(echo, name):
    *parts, last = [chunk["usage"] for chunk in chunks(echo, REQUESTS[name], EACH)]
    [*_, whole] = chunks(echo, REQUESTS[name], {"include_usage": True})
    assert last == whole["usage"]
    assert {usage["prompt_tokens"] for usage in parts} == {last["prompt_tokens"]}
    counts = [usage["completion_tokens"] for usage in parts]
    assert counts == sorted(counts)
    assert counts[-1] == last["completion_tokens"]
    assert all(usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"] for usage in parts)


def test_the_usage_counts_each_token_when_it_comes(echo):
    role, *texts, _end, _usage = chunks(echo, CHAT, EACH)
    assert role["usage"]["completion_tokens"] == 0
    assert [chunk["usage"]["completion_tokens"] for chunk in texts] == list(range(1, len(texts) + 1))


@pytest.mark.parametrize("options", [{"continuous_usage_stats": None}, {"continuous_usage_stats": False}, {}])
def test_what_says_no_asks_for_the_last_chunk_alone(echo, options):
    *parts, last = chunks(echo, CHAT, {"include_usage": True, **options})
    assert {chunk["usage"] for chunk in parts} == {None}
    assert last["usage"]["completion_tokens"] == len(TEXT) / 2


@pytest.mark.parametrize("options", [None, {"continuous_usage_stats": True}, {**EACH, "include_usage": False}])
def test_without_include_usage_there_is_none_as_in_vllm(echo, options):
    assert not any("usage" in chunk for chunk in chunks(echo, CHAT, options))


def test_an_upstream_passes_it_on(relay_server):
    with relay_server.client() as client:
        *_, before, last = (chunk["usage"] for chunk in chunks(client, CHAT, EACH, "relayed"))
    assert before["completion_tokens"] == last["completion_tokens"] == len(TEXT) / 2


def test_a_model_that_cannot_tell_refuses_it_by_name(tmp_path):
    config = tmp_path / "specserve.toml"
    config.write_text('[[models]]\nid = "broken"\nbackend = "broken_backend:Broken"\n')
    with running("--config", str(config), environ={"PYTHONPATH": TESTS}) as server:
        body = {"model": "broken", "stream": True, "stream_options": EACH, **CHAT}
        answer = httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=60, trust_env=False)
        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == "stream_options.continuous_usage_stats"
        assert answer.json()["error"]["code"] == "unsupported_parameter"
