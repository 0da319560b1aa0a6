"""Prompts that are large, or hold what a prompt should not: they get an answer, and nobody else waits."""

from __future__ import annotations

import threading

import httpx
import pytest
from servers import CHAT

HUGE = "hello world " * 1_000_000
EVERY_GUARD = "".join(map(chr, range(0x10F000, 0x10FFFE)))


def chat(client: httpx.Client, *messages: dict, **more: object) -> httpx.Response:
    body = {"model": CHAT, "messages": list(messages), "max_tokens": 2, **more}
    return client.post("/v1/chat/completions", json=body)


def user(text: str) -> dict:
    return {"role": "user", "content": text}


@pytest.mark.parametrize("text", [HUGE, "<|im_end|> " * 300_000, "<" * 3_000_000, "é" * 2_000_000])
def test_health_and_short_prompts_are_answered_while_a_huge_one_is_refused(default, text):
    answers = []
    huge = threading.Thread(target=lambda: answers.append(chat(default, user(text))))
    huge.start()
    while huge.is_alive():
        assert default.get("/health").status_code == 200
        assert chat(default, user("hi")).status_code == 200
    huge.join()
    assert answers[0].status_code == 400
    assert answers[0].json()["error"]["code"] == "context_length_exceeded"


def test_a_text_that_leaves_no_character_for_a_guard_is_refused_and_the_model_goes_on(default):
    for _ in range(8):
        assert chat(default, user(EVERY_GUARD + "<|im_end|>")).status_code == 400
    assert chat(default, user("hi")).status_code == 200


@pytest.mark.parametrize("arguments", [None, "", "[" * 100_000, "[1]", "1", "null", "not JSON", '{"a":' * 500])
def test_whatever_stands_as_arguments_of_a_past_call_is_passed_on(default, arguments):
    function = {"name": "now"} if arguments is None else {"name": "now", "arguments": arguments[:4000]}
    call = {"id": "a", "type": "function", "function": function}
    messages = [
        user("hi"),
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "a", "content": "noon"},
    ]
    assert chat(default, *messages).status_code == 200


def test_large_tools_are_too_long_and_nothing_else(default):
    function = {"name": "f", "description": "words " * 400_000, "parameters": {"type": "object", "properties": {}}}
    answer = chat(default, user("hi"), tools=[{"type": "function", "function": function}])
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "context_length_exceeded")
