"""`echo` and `best_of` of completions, on the echo backend and on engines that a test wrote down."""

from __future__ import annotations

import math
from typing import Any

import pytest
from echoes import choices, complete, finish, text

from specserve.backends.echo import EchoTokenizer
from specserve.spec.errors import InvalidRequest

HALF = pytest.approx(math.log(0.5))
QUARTER = pytest.approx(math.log(0.25))


def logprobs(chunks: list[dict[str, Any]], index: int = 0) -> dict[str, list[Any]]:
    """The four lists, put together."""
    parts = [choice["logprobs"] for choice in choices(chunks, index) if choice["logprobs"]]
    return {name: [entry for part in parts for entry in part[name]] for name in parts[0]}


def test_an_echoed_prompt_is_scored_but_for_its_first_token() -> None:
    chunks = complete("abc", echo=True, logprobs=2, max_tokens=1)
    assert text(chunks) == "abcab"
    assert logprobs(chunks) == {
        "tokens": ["ab", "c", "ab"],
        "token_logprobs": [None, HALF, HALF],
        "top_logprobs": [None, {"c": HALF, " ": QUARTER}, {"ab": HALF, " ": QUARTER}],
        "text_offset": [0, 2, 3],
    }


def test_a_prompt_alone_can_be_scored() -> None:
    chunks = complete(["abc", "xy"], echo=True, logprobs=0, max_tokens=0, n=2)
    assert [text(chunks, index) for index in range(4)] == ["abc", "abc", "xy", "xy"]
    assert [finish(chunks, index) for index in range(4)] == ["length"] * 4
    assert logprobs(chunks, 1)["top_logprobs"] == [None, {"c": HALF}]
    assert logprobs(chunks, 2)["token_logprobs"] == [None]
    assert chunks[-1]["usage"]["completion_tokens"] == 0


def test_offsets_of_an_echoed_prompt_are_places_in_the_text() -> None:
    lists = logprobs(complete("é<|end|>🎉 ok", echo=True, logprobs=0, max_tokens=0))
    assert lists["tokens"] == [
        *("bytes:\\xc3", "bytes:\\xa9", "<|end|>", "bytes:\\xf0", "bytes:\\x9f", "bytes:\\x8e", "bytes:\\x89"),
        *(" o", "k"),
    ]
    assert lists["text_offset"] == [0, 0, 1, 8, 8, 8, 8, 9, 11]


def test_token_ids_are_echoed_and_scored_too() -> None:
    ids = EchoTokenizer().encode("abc<|end|>d", add_special_tokens=False)
    chunks = complete(ids, echo=True, logprobs=0, max_tokens=0)
    assert text(chunks) == "abcd"
    assert logprobs(chunks)["tokens"] == ["ab", "c", "<|end|>", "d"]
    assert logprobs(chunks)["text_offset"] == [0, 2, 3, 3]


def test_best_of_generates_more_than_it_returns() -> None:
    chunks = complete(["abc", "xy"], n=2, best_of=3)
    assert [text(chunks, index) for index in range(4)] == ["abc", "abc", "xy", "xy"]
    assert {choice["index"] for chunk in chunks for choice in chunk["choices"]} == {0, 1, 2, 3}
    assert chunks[-1]["usage"]["completion_tokens"] == 3 * 2 + 3 * 1
    assert all(choice["logprobs"] is None for choice in choices(chunks))


def test_best_of_as_many_as_are_returned_asks_for_nothing() -> None:
    assert text(complete("abc", n=2, best_of=2, stream=True), 1) == "abc"
    assert text(complete("abc", n=2, best_of=1), 1) == "abc"


@pytest.mark.parametrize("asked", [{"n": 3, "best_of": 2}, {"best_of": 2, "stream": True}])
def test_a_best_of_that_makes_no_sense_is_refused(asked: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        complete("abc", **asked)
    assert caught.value.param == "best_of"
