from __future__ import annotations

import asyncio
import math
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from specserve.backends.base import Call, ModelSettings
from specserve.backends.echo import Echo, EchoTokenizer
from specserve.backends.errors import (
    APIError,
    BackendLoadError,
    ContextLengthExceeded,
    InvalidRequest,
    Unavailable,
    UnsupportedParameter,
    UnsupportedValue,
)
from specserve.generated.models import CreateChatCompletionRequest, CreateCompletionRequest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CALL = Call(id="x-1", created=1700000000)
COMMON = {"id": "x-1", "created": 1700000000, "model": "parrot"}


@asynccontextmanager
async def echo(**options: Any) -> AsyncIterator[Echo]:
    backend = Echo(ModelSettings(id="parrot", backend="echo", options=options))
    await backend.start()
    try:
        yield backend
    finally:
        await backend.stop()


def chat_request(*texts: str, **parameters: Any) -> CreateChatCompletionRequest:
    messages = [{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(texts)]
    body = ({"messages": messages} if texts else {}) | {"model": "parrot"} | parameters
    return CreateChatCompletionRequest.model_validate(body)


def chat(*texts: str, options: dict[str, Any] | None = None, **parameters: Any) -> list[dict[str, Any]]:
    """The chunks as a client sees them."""

    async def run() -> list[dict[str, Any]]:
        async with echo(**(options or {})) as backend:
            chunks = [chunk async for chunk in backend.chat(chat_request(*texts, **parameters), CALL)]
            assert backend.load().running == 0
            return [chunk.model_dump(mode="json", exclude_unset=True) for chunk in chunks]

    return asyncio.run(run())


def complete(prompt: Any, options: dict[str, Any] | None = None, **parameters: Any) -> list[dict[str, Any]]:
    async def run() -> list[dict[str, Any]]:
        request = CreateCompletionRequest.model_validate({"model": "parrot", "prompt": prompt} | parameters)
        async with echo(**(options or {})) as backend:
            chunks = [chunk async for chunk in backend.complete(request, CALL)]
            assert backend.load().running == 0
            return [chunk.model_dump(mode="json", exclude_unset=True) for chunk in chunks]

    return asyncio.run(run())


def choices(chunks: list[dict[str, Any]], index: int = 0) -> list[dict[str, Any]]:
    return [choice for chunk in chunks for choice in chunk["choices"] if choice["index"] == index]


def content(chunks: list[dict[str, Any]], index: int = 0) -> str:
    return "".join(choice["delta"].get("content", "") for choice in choices(chunks, index))


def text(chunks: list[dict[str, Any]], index: int = 0) -> str:
    return "".join(choice["text"] for choice in choices(chunks, index))


def finish(chunks: list[dict[str, Any]], index: int = 0) -> str:
    reasons = [choice["finish_reason"] for choice in choices(chunks, index)]
    assert all(reason is None for reason in reasons[:-1])
    return str(reasons[-1])


def refusal(kind: type[APIError], *texts: str, options: dict[str, Any] | None = None, **parameters: Any) -> APIError:
    with pytest.raises(kind) as caught:
        chat(*texts, options=options, **parameters)
    assert type(caught.value) is kind
    return caught.value


def test_a_chat_answer_is_the_last_user_message_in_the_chunks_that_openai_sends() -> None:
    chunks = chat("first", "and then", "abc")
    common = COMMON | {"object": "chat.completion.chunk"}

    def chunk(delta: dict[str, str], finish_reason: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return common | {"choices": [choice]}

    assert chunks[:-1] == [
        chunk({"role": "assistant", "content": ""}),
        chunk({"content": "ab"}),
        chunk({"content": "c"}),
        chunk({}, "stop"),
    ]
    assert chunks[-1] == common | {"choices": [], "usage": chunks[-1]["usage"]}


def test_usage_counts_prompt_and_answer() -> None:
    prompt_tokens = len(EchoTokenizer().encode("<|user|>abc<|end|><|assistant|>", add_special_tokens=False))
    assert chat("abc")[-1]["usage"] == {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": 2,
        "total_tokens": prompt_tokens + 2,
        "prompt_tokens_details": {"audio_tokens": 0, "cached_tokens": 0},
        "completion_tokens_details": {
            "accepted_prediction_tokens": 0,
            "audio_tokens": 0,
            "reasoning_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def test_emoji_and_cjk_arrive_whole() -> None:
    said = "é漢字 👩‍👩‍👧 🎉"
    chunks = chat(said)
    assert content(chunks) == said
    assert chunks[-1]["usage"]["completion_tokens"] > len(said)


def test_an_empty_message_is_answered_by_nothing() -> None:
    chunks = chat("")
    assert [choice["delta"] for choice in choices(chunks)] == [{"role": "assistant", "content": ""}, {}]
    assert finish(chunks) == "stop"


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_a_limit_cuts_the_answer(name: str) -> None:
    limit: dict[str, Any] = {name: 2}
    chunks = chat("abcdef", **limit)
    assert (content(chunks), finish(chunks)) == ("abcd", "length")
    assert chunks[-1]["usage"]["completion_tokens"] == 2


def test_a_character_cut_by_the_limit_becomes_a_replacement_character() -> None:
    assert content(chat("🎉", max_tokens=3)) == "\ufffd"


def test_both_limits_must_agree() -> None:
    assert content(chat("abcd", max_tokens=1, max_completion_tokens=1)) == "ab"
    assert refusal(InvalidRequest, "abcd", max_tokens=1, max_completion_tokens=2).param == "max_tokens"


def test_a_stop_string_that_straddles_tokens_ends_the_answer_before_it() -> None:
    chunks = chat("one two END three", stop=" END")
    assert (content(chunks), finish(chunks)) == ("one two", "stop")
    # "on|e |tw|o |EN|D ": the sixth token completes it.
    assert chunks[-1]["usage"]["completion_tokens"] == 6


def test_a_beginning_of_a_stop_string_at_the_end_goes_out() -> None:
    chunks = chat("the EN", stop=["END", "</s>"])
    assert (content(chunks), finish(chunks)) == ("the EN", "stop")


def test_a_stop_string_completed_by_the_last_token_allowed_is_a_stop() -> None:
    chunks = chat("abEN", stop=["EN"], max_tokens=2)
    assert (content(chunks), finish(chunks)) == ("ab", "stop")


def test_a_stop_string_frees_the_engine_at_once() -> None:
    async def run() -> None:
        async with echo(tokens_per_second=20, first_token_delay=0) as backend:
            began = time.monotonic()
            request = chat_request("ab" * 100, stop=["bab"])
            chunks = [chunk async for chunk in backend.chat(request, CALL)]
            assert time.monotonic() - began < 2
            assert chunks[-1].usage is not None
            assert backend.load().running == 0

    asyncio.run(run())


def test_each_of_n_choices_is_complete() -> None:
    chunks = chat("abc", n=3)
    for index in range(3):
        assert choices(chunks, index)[0]["delta"] == {"role": "assistant", "content": ""}
        assert (content(chunks, index), finish(chunks, index)) == ("abc", "stop")
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] == 6
    assert chunks[-1]["usage"]["prompt_tokens"] == chat("abc")[-1]["usage"]["prompt_tokens"]


def test_min_tokens_and_ignore_eos_make_it_say_it_again() -> None:
    assert content(chat("abcd", min_tokens=3)) == "abcdab"
    chunks = chat("abcd", ignore_eos=True, max_tokens=5)
    assert (content(chunks), finish(chunks)) == ("abcdabcdab", "length")
    assert content(chat("", min_tokens=2)) == ".."
    assert refusal(InvalidRequest, "abc", min_tokens=3, max_tokens=2).param == "min_tokens"


def test_sampling_cannot_change_the_only_token_there_is() -> None:
    assert content(chat("abc", temperature=2, top_p=0.1, top_k=-1, min_p=0.5, seed=-3, frequency_penalty=2)) == "abc"


def test_nulls_are_defaults() -> None:
    nulls = dict.fromkeys(("temperature", "top_p", "n", "stop", "max_tokens", "seed", "logprobs", "top_logprobs"))
    assert content(chat("abc", **nulls)) == "abc"


def test_logprobs_of_chat_tell_tokens_bytes_and_alternatives() -> None:
    chunks = chat("ab🎉", logprobs=True, top_logprobs=2)
    entries = [entry for choice in choices(chunks) if choice["logprobs"] for entry in choice["logprobs"]["content"]]
    assert entries[0] == {
        "token": "ab",
        "logprob": pytest.approx(math.log(0.5)),
        "bytes": [97, 98],
        "top_logprobs": [
            {"token": "ab", "logprob": pytest.approx(math.log(0.5)), "bytes": [97, 98]},
            {"token": " ", "logprob": pytest.approx(math.log(0.25)), "bytes": [32]},
        ],
    }
    assert [entry["token"] for entry in entries[1:]] == ["\\xf0", "\\x9f", "\\x8e", "\\x89"]
    assert bytes(byte for entry in entries for byte in entry["bytes"]).decode() == content(chunks)
    # The four tokens of the emoji go out with it, in one chunk.
    assert [len(choice["logprobs"]["content"]) for choice in choices(chunks) if choice["logprobs"]] == [1, 4]


@pytest.mark.parametrize(("asked", "given"), [(None, 0), (0, 0), (20, 20)])
def test_as_many_alternatives_as_asked_for(asked: int | None, given: int) -> None:
    entry = choices(chat("a", logprobs=True, top_logprobs=asked))[1]["logprobs"]["content"][0]
    assert len(entry["top_logprobs"]) == given
    assert len({alternative["token"] for alternative in entry["top_logprobs"]}) == given


def test_logprobs_end_where_the_text_ends() -> None:
    chunks = chat("abcdENDef", logprobs=True, stop="END")
    tokens = [entry["token"] for choice in choices(chunks) for entry in (choice["logprobs"] or {}).get("content", [])]
    assert tokens == ["ab", "cd"]


def test_top_logprobs_need_logprobs() -> None:
    assert refusal(InvalidRequest, "abc", top_logprobs=2).param == "top_logprobs"


def test_a_prompt_in_place_of_messages_is_one_user_message() -> None:
    chunks = chat(prompt="abc")
    assert content(chunks) == "abc"
    assert chunks[-1]["usage"] == chat("abc")[-1]["usage"]


def test_a_prompt_longer_than_the_context_is_refused_before_the_first_chunk() -> None:
    error = refusal(ContextLengthExceeded, "x" * 100, options={"context_length": 20})
    assert error.param == "messages"
    assert "20 tokens" in error.message
    assert "53 tokens" in error.message
    assert refusal(ContextLengthExceeded, prompt="x" * 100, options={"context_length": 20}).param == "prompt"


def test_a_limit_that_the_context_cannot_hold_is_refused() -> None:
    error = refusal(ContextLengthExceeded, "abc", max_tokens=16, options={"context_length": 20})
    assert "21 tokens (5 in the messages, 16 in the completion)" in error.message
    assert content(chat("abc", max_tokens=15, options={"context_length": 20})) == "abc"


def test_without_a_limit_the_context_is_the_limit() -> None:
    chunks = chat("abc", ignore_eos=True, options={"context_length": 20})
    assert finish(chunks) == "length"
    assert chunks[-1]["usage"]["total_tokens"] == 20


def test_a_long_conversation_is_tokenised_off_the_event_loop() -> None:
    said = "word " * 3000
    assert content(chat(said, options={"context_length": 100_000})) == said


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
    order = [chunk["choices"][0]["index"] for chunk in complete(["abcdef", "uvwxyz"])[:-1]]
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


def test_an_echoed_prompt_cannot_be_scored() -> None:
    with pytest.raises(UnsupportedParameter) as caught:
        complete("abc", echo=True, logprobs=0)
    assert caught.value.param == "echo"


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


def test_best_of_is_taken_where_it_asks_for_nothing() -> None:
    assert text(complete("abc", n=2, best_of=2), 1) == "abc"
    assert text(complete("abc", n=2, best_of=1), 1) == "abc"
    with pytest.raises(UnsupportedValue):
        complete("abc", best_of=2)
    with pytest.raises(InvalidRequest):
        complete("abc", n=3, best_of=2)


def test_a_request_cannot_ask_for_thousands_of_choices() -> None:
    with pytest.raises(InvalidRequest):
        complete(["a"] * 100, n=100)


@pytest.mark.parametrize("prompts", ["abc", ["abc", "def"]])
def test_closing_a_completion_stops_the_engine(prompts: str | list[str]) -> None:
    async def run() -> None:
        async with echo(tokens_per_second=50) as backend:
            request = CreateCompletionRequest.model_validate({"model": "parrot", "prompt": prompts, "n": 2})
            chunks = backend.complete(request, CALL)
            await anext(chunks)
            assert backend.load().running == 2 * len([prompts] if isinstance(prompts, str) else prompts)
            await chunks.aclose()
            assert backend.load().running == 0

    asyncio.run(run())


def test_closing_before_the_first_chunk_starts_nothing() -> None:
    async def run() -> None:
        async with echo() as backend:
            await backend.chat(chat_request("abc"), CALL).aclose()
            assert backend.load().running == 0

    asyncio.run(run())


@pytest.mark.parametrize("prompts", ["abc", ["abc", "def"]])
def test_cancelling_the_wait_for_the_first_chunk_stops_the_engine(prompts: str | list[str]) -> None:
    async def run() -> None:
        async with echo(first_token_delay=60) as backend:
            request = CreateCompletionRequest.model_validate({"model": "parrot", "prompt": prompts})
            waiting = asyncio.ensure_future(anext(backend.complete(request, CALL)))
            await asyncio.sleep(0.02)
            assert backend.load().running > 0
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert backend.load().running == 0

    asyncio.run(run())


def test_the_chunk_after_a_step_was_closed_never_comes() -> None:
    async def run() -> None:
        async with echo() as backend:
            chunks = backend.chat(chat_request("abcdef"), CALL)
            assert (await anext(chunks)).choices[0].delta.role == "assistant"
            await chunks.aclose()
            with pytest.raises(StopAsyncIteration):
                await anext(chunks)

    asyncio.run(run())


def test_stopping_ends_what_runs_and_may_be_done_twice() -> None:
    async def run() -> None:
        async with echo(first_token_delay=60) as backend:
            waiting = asyncio.ensure_future(anext(backend.chat(chat_request("abc"), CALL)))
            await asyncio.sleep(0.02)
            await backend.stop()
            await backend.stop()
            with pytest.raises(Unavailable):
                await waiting
            with pytest.raises(Unavailable):
                await anext(backend.chat(chat_request("abc"), CALL))

    asyncio.run(run())


def test_many_chats_at_once_do_not_mix() -> None:
    async def answer(backend: Echo, said: str) -> str:
        chunks = [chunk async for chunk in backend.chat(chat_request(said), CALL)]
        return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)

    async def run() -> None:
        async with echo() as backend:
            texts = [f"message number {at}" for at in range(50)]
            assert await asyncio.gather(*(answer(backend, said) for said in texts)) == texts

    asyncio.run(run())


def test_the_pace_is_kept() -> None:
    began = time.monotonic()
    chat("abcdefgh", options={"tokens_per_second": 100, "first_token_delay": 0.05})
    assert 0.08 <= time.monotonic() - began < 1


@pytest.mark.parametrize("options", [{"pace": 3}, {"tokens_per_second": -1}, {"context_length": "many"}])
def test_wrong_options_stop_the_start_by_name(options: dict[str, Any]) -> None:
    with pytest.raises(BackendLoadError, match=next(iter(options))):
        Echo(ModelSettings(id="parrot", backend="echo", options=options))


def test_it_declares_what_it_does() -> None:
    async def run() -> None:
        async with echo(context_length=100, embedding_dimensions=8) as backend:
            capabilities = backend.capabilities
            assert (capabilities.context_length, capabilities.embedding_dimensions) == (100, 8)
            chat, completion = (capabilities.operations[name] for name in ("createChatCompletion", "createCompletion"))
            assert {"messages", "prompt", "top_logprobs", "max_completion_tokens"} <= chat
            assert not {"tools", "logit_bias", "echo", "best_of"} & chat
            assert {"prompt", "echo", "logprobs", "best_of"} <= completion
            assert not {"messages", "top_logprobs", "suffix"} & completion
            assert chat <= set(CreateChatCompletionRequest.model_fields)
            assert completion <= set(CreateCompletionRequest.model_fields)
            assert "createEmbedding" in capabilities.operations

    asyncio.run(run())
