from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING, Any

import pytest

from specserve.backends.base import ModelSettings
from specserve.backends.echo import Echo, EchoTokenizer
from specserve.generated.models import CreateChatCompletionRequest, CreateCompletionRequest
from specserve.spec.errors import (
    BackendLoadError,
    ContextLengthExceeded,
    InvalidRequest,
    Unavailable,
)

if TYPE_CHECKING:
    pass
from chunks import STREAM, chunks_in, first_chunk
from echoes import CALL, COMMON, chat, chat_request, choices, content, echo, finish, refusal


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
            request = chat_request("ab" * 2000, stop=["bab"])  # minutes, at this pace
            async with asyncio.timeout(60):
                chunks = [chunk async for chunk in backend.chat(request, CALL)]
            assert chunks[-1].usage is not None
            assert backend.activity().running == 0

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


@pytest.mark.parametrize("prompts", ["abc", ["abc", "def"]])
def test_closing_a_completion_stops_the_engine(prompts: str | list[str]) -> None:
    async def run() -> None:
        async with echo(tokens_per_second=50) as backend:
            request = CreateCompletionRequest.model_validate({"model": "parrot", "prompt": prompts, "n": 2, **STREAM})
            chunks = backend.complete(request, CALL)
            await first_chunk(chunks)
            assert backend.activity().running == 2 * len([prompts] if isinstance(prompts, str) else prompts)
            await chunks.aclose()
            assert backend.activity().running == 0

    asyncio.run(run())


def test_closing_before_the_first_chunk_starts_nothing() -> None:
    async def run() -> None:
        async with echo() as backend:
            await backend.chat(chat_request("abc"), CALL).aclose()
            assert backend.activity().running == 0

    asyncio.run(run())


@pytest.mark.parametrize("prompts", ["abc", ["abc", "def"]])
def test_cancelling_the_wait_for_the_first_chunk_stops_the_engine(prompts: str | list[str]) -> None:
    async def run() -> None:
        async with echo(first_token_delay=60) as backend:
            request = CreateCompletionRequest.model_validate({"model": "parrot", "prompt": prompts})
            waiting = asyncio.ensure_future(first_chunk(backend.complete(request, CALL)))
            await asyncio.sleep(0.02)
            assert backend.activity().running > 0
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert backend.activity().running == 0

    asyncio.run(run())


def test_the_chunk_after_a_step_was_closed_never_comes() -> None:
    async def run() -> None:
        async with echo() as backend:
            chunks = backend.chat(chat_request("abcdef"), CALL)
            assert choices(chunks_in([await first_chunk(chunks)]))[0]["delta"]["role"] == "assistant"
            await chunks.aclose()
            with pytest.raises(StopAsyncIteration):
                await anext(chunks)

    asyncio.run(run())


def test_stopping_ends_what_runs_and_may_be_done_twice() -> None:
    async def run() -> None:
        async with echo(first_token_delay=60) as backend:
            waiting = asyncio.ensure_future(first_chunk(backend.chat(chat_request("abc"), CALL)))
            await asyncio.sleep(0.02)
            await backend.stop()
            await backend.stop()
            with pytest.raises(Unavailable):
                await waiting
            with pytest.raises(Unavailable):
                await first_chunk(backend.chat(chat_request("abc"), CALL))

    asyncio.run(run())


def test_many_chats_at_once_do_not_mix() -> None:
    async def answer(backend: Echo, said: str) -> str:
        return content(chunks_in([item async for item in backend.chat(chat_request(said), CALL)]))

    async def run() -> None:
        async with echo() as backend:
            texts = [f"message number {at}" for at in range(50)]
            assert await asyncio.gather(*(answer(backend, said) for said in texts)) == texts

    asyncio.run(run())


def test_the_pace_is_not_exceeded() -> None:
    began = time.monotonic()
    chat("abcdefgh", options={"tokens_per_second": 100, "first_token_delay": 0.05})
    assert time.monotonic() - began >= 0.08


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
            assert {"tools", "tool_choice", "parallel_tool_calls", "messages.tool", "response_format"} <= chat
            assert not {"logit_bias", "echo", "best_of"} & chat
            assert {"prompt", "echo", "logprobs", "best_of"} <= completion
            assert not {"messages", "top_logprobs", "suffix"} & completion
            assert {name.partition(".")[0] for name in chat} <= set(CreateChatCompletionRequest.model_fields)
            assert {name.partition(".")[0] for name in completion} <= set(CreateCompletionRequest.model_fields)
            assert "createEmbedding" in capabilities.operations

    asyncio.run(run())
