"""A plain answer is the fold of fewer chunks than the stream has: both must say the same, byte for byte."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import orjson
import pytest
from chunks import STREAM, chunks_in
from scripted import Bytes, Script, Scripted, out

from specserve.backends.base import ACCEPTED, Call, EncodedEvents
from specserve.backends.construct import encode
from specserve.backends.local.backend import LocalBackend
from specserve.backends.local.engine import RankedOutput, TokenOutput
from specserve.generated.models import (
    CreateChatCompletionRequest,
    CreateChatCompletionStreamResponse,
    CreateCompletionRequest,
    CreateCompletionResponse,
)
from specserve.handlers._delivery.fold import ChatFold, CompletionFold

THINKING = "{% for m in messages %}{{ m.content }}{% endfor %}{% if '</think>' %}<think>{% endif %}"
MARKED = Bytes({"<think>": 1, "</think>": 2})
SCORED = RankedOutput(0, [104, 105], [-0.5, -1.0], "stop", alternatives=[[(104, -0.5)], [(105, -1.0), (33, -2.5)]])

SCRIPTS: dict[str, tuple[list[list[TokenOutput]], dict[str, Any]]] = {
    "text": ([[out("100% ")], [out('"sure"\n')], [out("é🎉", "stop")]], {}),
    "nothing": ([[out("", "stop")]], {}),
    "cut off": ([[out("abc", "length")]], {"max_tokens": 3}),
    "a stop string": ([[out("ab")], [out("cde", "stop")]], {"stop": "cd"}),
    "from the cache": ([[TokenOutput(0, [97], [], "stop", 5)]], {}),
    "several": ([[out("b", index=1)], [out("a"), out("c", "length", index=1)], [out("", "stop")]], {"n": 2}),
}


class Ranking(Scripted):
    features = frozenset({"logprobs", "top_logprobs"})


def asked(backend: LocalBackend, **body: Any) -> list[Any]:
    """All that the backend gives."""

    async def go() -> list[Any]:
        await backend.start()
        call = Call(id="c", created=1)
        if "prompt" in body:
            items = backend.complete(CreateCompletionRequest.model_validate({"model": "m"} | body), call)
            return [item async for item in items]
        said = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
        return [item async for item in backend.chat(CreateChatCompletionRequest.model_validate(said | body), call)]

    return asyncio.run(go())


def check(make: type[Scripted], script: Script, **body: Any) -> dict[str, Any]:
    """The answer, which is the fold of the stream."""
    kind, fold = (
        (CreateCompletionResponse, CompletionFold)
        if "prompt" in body
        else (CreateChatCompletionStreamResponse, ChatFold)
    )
    streamed, plain = fold(), fold()
    for chunk in chunks_in(asked(make(script), **STREAM, **body)):
        streamed.add(kind.model_validate(chunk))
    for chunk in asked(make(script), **body):
        plain.add(chunk)
    assert encode(plain.build()) == encode(streamed.build())
    answer: dict[str, Any] = orjson.loads(encode(plain.build()))
    return answer


@pytest.mark.parametrize("name", SCRIPTS)
@pytest.mark.parametrize("prompt", [{}, {"prompt": "100% sure"}], ids=["chat", "completion"])
def test_a_plain_answer_is_the_fold_of_the_stream(name: str, prompt: dict[str, Any]) -> None:
    steps, body = SCRIPTS[name]
    check(Scripted, Script(lambda _: steps), **prompt, **body)


def test_so_it_is_with_log_probabilities() -> None:
    script = Script(lambda _: [[SCORED]])
    answer = check(Ranking, script, logprobs=True, top_logprobs=2)
    assert [len(token["top_logprobs"]) for token in answer["choices"][0]["logprobs"]["content"]] == [1, 2]
    answer = check(Ranking, script, prompt="x", logprobs=2)
    assert answer["choices"][0]["logprobs"]["tokens"] == ["h", "i"]


def test_so_it_is_with_thoughts() -> None:
    script = Script(lambda _: [[TokenOutput(0, [104, 109], [])], [TokenOutput(0, [2, *b"yes"], [], "stop")]])
    script.chat_template, script.tokenizer = THINKING, MARKED
    answer = check(Scripted, script)
    message = {"role": "assistant", "content": "yes", "refusal": None, "reasoning_content": "hm"}
    assert answer["choices"][0]["message"] == message
    assert answer["usage"]["completion_tokens_details"]["reasoning_tokens"] == 3


def test_the_name_of_a_model_may_look_like_a_placeholder() -> None:
    class Odd(Scripted):
        def __init__(self, engine: Any) -> None:
            super().__init__(engine)
            self.settings = replace(self.settings, id='100%% (id)b "%(id)b"')

    assert check(Odd, Script(lambda _: [[out("x", "stop")]]))["model"] == '100%% (id)b "%(id)b"'


class Bound(Scripted):
    features = frozenset({"response_format"})


@pytest.mark.parametrize(("kind", "planned"), [("text", [ACCEPTED]), ("json_object", [])])
def test_a_stream_that_is_held_to_a_grammar_is_accepted_when_the_engine_says_so(kind: str, planned: list[Any]) -> None:
    """The engine compiles the grammar, and may refuse it; by an empty list it says that it has taken the request."""
    items = asked(Bound(Script(lambda _: [[], [out("{}", "stop")]])), stream=True, response_format={"type": kind})
    at = len(planned) + 1
    assert items[:at] == [*planned, ACCEPTED]
    assert [isinstance(item, EncodedEvents) for item in items[at:]] == [True, True]
