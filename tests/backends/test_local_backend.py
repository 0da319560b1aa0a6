from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from chunks import STREAM, chunks_in

from specserve.backends.base import Activity, Call, ModelSettings
from specserve.backends.local.backend import LocalBackend
from specserve.backends.local.engine import Engine, Sampling, Tokenizer, TokenOutput
from specserve.generated.models import CreateChatCompletionRequest, CreateCompletionRequest
from specserve.spec.errors import BackendLoadError, EngineFailure, OperationNotSupported, UnsupportedValue

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

TEMPLATE = "{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}"
Steps = list[list[TokenOutput]]


class Letters(Tokenizer):
    """A token a byte; 1 begins a text and has no bytes."""

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        ids = [token_id for piece in text.split("<s>") for token_id in (1, *piece.encode())][1:]
        return [1, *ids] if add_special_tokens else ids

    def token_bytes(self, token_id: int) -> bytes:
        return b"" if token_id == 1 else bytes([token_id])

    @property
    def size(self) -> int:
        return 256


class Script(Engine):
    """Plays the steps that a test wrote down, and remembers what it was asked."""

    chat_template: str | None = TEMPLATE
    special_tokens = {"bos_token": "<s>"}  # noqa: RUF012 - as the contract has it
    context_length = 100
    tokenizer = Letters()

    def __init__(self, play: Callable[[list[int]], Steps]) -> None:
        self.play = play
        self.asked: list[tuple[list[int], Sampling]] = []
        self.running = 0

    async def generate(self, prompt: Sequence[int], sampling: Sampling, n: int) -> AsyncGenerator[Any, None]:
        self.asked.append((list(prompt), sampling))
        self.running += n
        try:
            for step in self.play(list(prompt)):
                await asyncio.sleep(0)
                yield step
        finally:
            self.running -= n

    def activity(self) -> Activity:
        return Activity(running=self.running)

    async def stop(self) -> None:
        pass


class Local(LocalBackend):
    features = frozenset({"temperature", "logprobs"})

    def __init__(self, engine: Engine) -> None:
        super().__init__(ModelSettings(id="m", backend="script"))
        self.opens = engine

    async def open_engine(self) -> Engine:
        return self.opens


def out(text: str, finish: Any = None, index: int = 0, **more: Any) -> TokenOutput:
    return TokenOutput(index, list(text.encode()), more.pop("logprobs", []), finish, **more)


def run(
    play: Steps | Callable[[list[int]], Steps], *, engine: Script | None = None, **body: Any
) -> list[dict[str, Any]]:
    """The chunks of a chat, or of a completion if there is a prompt."""
    engine = engine or Script(play if callable(play) else lambda _: play)

    async def go() -> list[dict[str, Any]]:
        backend = Local(engine)
        await backend.start()
        call = Call(id="c", created=1)
        stream = {} if "best_of" in body else STREAM
        chunks: AsyncGenerator[Any, None]
        if "prompt" in body:
            chunks = backend.complete(CreateCompletionRequest.model_validate({"model": "m"} | stream | body), call)
        else:
            said = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
            chunks = backend.chat(CreateChatCompletionRequest.model_validate(said | stream | body), call)
        try:
            return chunks_in([item async for item in chunks])
        finally:
            assert engine.running == 0
            await backend.stop()

    return asyncio.run(go())


def deltas(chunks: list[dict[str, Any]]) -> list[Any]:
    return [choice["delta"].get("content") for chunk in chunks for choice in chunk["choices"]]


def test_all_tokens_of_a_step_are_one_chunk() -> None:
    assert deltas(run([[out("hello ")], [out("you", "stop")]])) == ["", "hello ", "you", None]


def test_a_step_that_brings_no_whole_character_brings_no_chunk() -> None:
    steps = [[TokenOutput(0, [byte], [])] for byte in "é!".encode()]
    assert deltas(run([*steps, [out("", "stop")]])) == ["", "é", "!", None]


def test_output_after_a_stop_string_is_dropped_while_other_choices_go_on() -> None:
    steps = [
        [out("aX"), out("b", index=1)],
        [out("more"), out("c", index=1)],
        [out("more"), out("X", index=1)],
        [out("never seen", "length"), out("never seen", "length", 1)],
    ]
    chunks = run(steps, n=2, stop="X")
    texts = [(c["index"], c["delta"].get("content"), c["finish_reason"]) for k in chunks for c in k["choices"]]
    assert texts == [
        (0, "", None),
        (0, "a", None),
        (0, None, "stop"),
        (1, "", None),
        (1, "b", None),
        (1, "c", None),
        (1, None, "stop"),
    ]
    assert chunks[-1]["usage"]["completion_tokens"] == 5


def test_tokens_after_a_stop_string_in_the_same_step_are_not_counted() -> None:
    chunks = run([[out("abSTOPxyz", "length")]], stop=["STOP"])
    assert chunks[-1]["usage"]["completion_tokens"] == 6
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"


def test_cached_tokens_are_told_if_the_engine_tells_them() -> None:
    assert "prompt_tokens_details" not in run([[out("a", "stop")]])[-1]["usage"]
    chunks = run([[out("a", "stop", cached_tokens=7)]], prompt=["one", "two"])
    assert chunks[-1]["usage"]["prompt_tokens_details"]["cached_tokens"] == 14


def test_the_chosen_token_is_scored_by_an_engine_that_ranks_none() -> None:
    steps = [[out("ab", "stop", logprobs=[-0.5, -math.inf])]]
    entries = run(steps, logprobs=True)[1]["choices"][0]["logprobs"]["content"]
    assert entries == [
        {"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []},
        {"token": "b", "logprob": -9999.0, "bytes": [98], "top_logprobs": []},
    ]
    lists = run(steps, prompt="x", logprobs=0)[0]["choices"][0]["logprobs"]
    assert lists["top_logprobs"] == [{"a": -0.5}, {"b": -9999.0}]


def test_alternatives_of_an_engine_that_ranks_none_are_refused() -> None:
    with pytest.raises(UnsupportedValue) as caught:
        run([], prompt="x", logprobs=1)
    assert caught.value.param == "logprobs"


def test_a_token_that_leaves_no_text_is_scored_with_the_next_that_does() -> None:
    steps = [[TokenOutput(0, [1], [-1.0])], [out("a", "stop", logprobs=[-2.0])]]
    chunks = run(steps, logprobs=True)
    assert deltas(chunks) == ["", "a", None]
    assert [entry["bytes"] for entry in chunks[1]["choices"][0]["logprobs"]["content"]] == [None, [97]]


def test_an_engine_that_ends_early_has_failed() -> None:
    with pytest.raises(EngineFailure):
        run([[out("a")]])


def test_one_failing_prompt_ends_all() -> None:
    def play(prompt: list[int]) -> Steps:
        return [[out("a")]] * (2 if bytes(prompt[1:]) == b"bad" else 50)

    with pytest.raises(EngineFailure):
        run(play, prompt=["good", "bad"])


def test_the_token_that_begins_a_text_is_there_once() -> None:
    engine = Script(lambda _: [[out("a", "stop")]])
    run([], engine=engine, prompt="x")
    run([], engine=engine, prompt="<s>x")
    run([], engine=engine, prompt="")
    run([], engine=engine)
    assert [prompt for prompt, _ in engine.asked] == [[1, 120], [1, 120], [1], [1, *b"hi"]]


def test_the_engine_gets_what_was_asked_for() -> None:
    engine = Script(lambda _: [[out("a", "stop")]])
    run([], engine=engine, temperature=0, stop=["x"], max_tokens=5, seed=3, top_k=-1)
    run([], engine=engine)
    assert engine.asked[0][1] == Sampling(max_tokens=5, temperature=0, stop=("x",), seed=3, streamed=True)
    assert engine.asked[1][1] == Sampling(max_tokens=97, streamed=True)


def test_a_completion_of_no_tokens_does_not_trouble_the_engine() -> None:
    engine = Script(lambda _: [])
    chunks = run([], engine=engine, prompt="x", max_tokens=0)
    assert [choice["finish_reason"] for chunk in chunks for choice in chunk["choices"]] == ["length"]
    assert engine.asked == []


def test_a_base_model_completes_but_does_not_chat() -> None:
    engine = Script(lambda _: [[out("a", "stop")]])
    engine.chat_template = None

    async def go() -> None:
        backend = Local(engine)
        await backend.start()
        assert set(backend.capabilities.operations) == {"createCompletion"}
        await backend.stop()

    asyncio.run(go())
    with pytest.raises(OperationNotSupported):
        run([], engine=engine)


def test_a_broken_template_stops_the_start() -> None:
    engine = Script(lambda _: [])
    engine.chat_template = "{% if %}"

    async def go() -> None:
        backend = Local(engine)
        with pytest.raises(BackendLoadError):
            await backend.start()
        await backend.stop()

    asyncio.run(go())
