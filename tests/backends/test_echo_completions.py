from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest

from specserve.backends.echo import EchoTokenizer
from specserve.spec.errors import (
    ContextLengthExceeded,
    InvalidRequest,
)

if TYPE_CHECKING:
    pass
from echoes import COMMON, choices, complete, finish, text


def test_a_completion_continues_with_its_prompt() -> None:
    chunks = complete("abc")
    common = COMMON | {"object": "text_completion"}

    def chunk(part: str, finish_reason: str | None = None) -> dict[str, Any]:
        return common | {"choices": [{"index": 0, "text": part, "logprobs": None, "finish_reason": finish_reason}]}

    assert chunks[:-1] == [chunk("ab"), chunk("c"), chunk("", "stop")]
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["total_tokens"] == 4


def test_a_completion_has_16_tokens_unless_told_or_less_if_the_context_is_small() -> None:
    assert complete("x" * 100)[-1]["usage"]["completion_tokens"] == 16
    assert complete("x" * 100, max_tokens=None)[-1]["usage"]["completion_tokens"] == 16
    assert complete("x" * 100, max_tokens=20)[-1]["usage"]["completion_tokens"] == 20
    assert complete("x" * 100, options={"context_length": 60})[-1]["usage"]["completion_tokens"] == 10
    with pytest.raises(ContextLengthExceeded) as caught:
        complete("x" * 100, max_tokens=16, options={"context_length": 60})
    assert caught.value.param == "prompt"


def test_every_prompt_gets_n_answers() -> None:
    chunks = complete(["abcd", "xy"], n=2)
    assert [text(chunks, index) for index in range(4)] == ["abcd", "abcd", "xy", "xy"]
    assert [finish(chunks, index) for index in range(4)] == ["stop"] * 4
    assert chunks[-1]["usage"]["prompt_tokens"] == 3
    assert chunks[-1]["usage"]["completion_tokens"] == 6


def test_prompts_run_side_by_side() -> None:
    chunks = complete(["abcdef", "uvwxyz"], options={"tokens_per_second": 500})
    order = [chunk["choices"][0]["index"] for chunk in chunks[:-1]]
    assert order != sorted(order)


def test_token_ids_are_prompts_too() -> None:
    ids = EchoTokenizer().encode("héllo", add_special_tokens=False)
    assert text(complete(ids)) == "héllo"
    chunks = complete([ids, ids])
    assert text(chunks, 1) == "héllo"


def test_a_token_that_does_not_exist_is_refused() -> None:
    with pytest.raises(InvalidRequest) as caught:
        complete([EchoTokenizer().size])
    assert caught.value.param == "prompt"


@pytest.mark.parametrize("nothing", ["", None])
def test_an_empty_prompt_begins_a_new_text(nothing: str | None) -> None:
    chunks = complete(nothing)
    assert (text(chunks), finish(chunks)) == ("", "stop")


def test_echo_puts_the_prompt_first() -> None:
    assert text(complete("abc", echo=True)) == "abcabc"
    chunks = complete(["abc", "x"], echo=True, n=2, max_tokens=0)
    assert [text(chunks, index) for index in range(4)] == ["abc", "abc", "x", "x"]
    assert finish(chunks) == "length"
    ids = EchoTokenizer().encode("é", add_special_tokens=False)
    assert text(complete(ids, echo=True)) == "éé"


def test_logprobs_of_a_completion_are_four_lists() -> None:
    chunks = complete("abc🎉d", logprobs=1)
    lists = [choice["logprobs"] for choice in choices(chunks) if choice["logprobs"]]
    half = pytest.approx(math.log(0.5))
    assert lists[0] == {
        "tokens": ["ab"],
        "token_logprobs": [half],
        "top_logprobs": [{"ab": half}],
        "text_offset": [0],
    }
    assert lists[1]["text_offset"] == [2]
    assert lists[2]["tokens"] == ["bytes:\\xf0", "bytes:\\x9f", "bytes:\\x8e", "bytes:\\x89"]
    assert lists[2]["text_offset"] == [3, 3, 3, 3]
    assert lists[3]["text_offset"] == [4]
    top = choices(complete("a", logprobs=5))[0]["logprobs"]["top_logprobs"][0]
    assert list(top) == ["a", " ", "e", "t", "o"]


def test_a_request_cannot_ask_for_thousands_of_choices() -> None:
    with pytest.raises(InvalidRequest):
        complete(["a"] * 100, n=100)
