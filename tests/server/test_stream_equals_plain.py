"""A streamed answer, put together, is the plain answer: every field of it, over many kinds of requests."""

import os
import random

import pytest
from folding import events, fold
from servers import CHAT, running

REQUESTS = int(os.environ.get("SPECSERVE_TEST_EQUAL_REQUESTS", "30"))
CLOSE = 1e-4  # of log-probabilities: how tokens were cut into parts shows in their last digits
WORDS = [
    "river",
    "Paris",
    "naïve café",
    "🎉 déjà",
    "日本語の",
    "one two three",
    "{}[]",
    "\n\n",
    "The capital of France is",
]


@pytest.fixture(scope="module")
def precise(tmp_path_factory):
    """The default model, so that equal requests have equal answers whatever the machine does meanwhile.

    When the sequences of a request start and end differs from time to time, and with it the shape of sums and their
    last bit. A KV cache of 16 bits makes 1e-3 of a log-probability of that, enough to draw another token now and then;
    one of 32 bits 3e-5.
    """
    config = tmp_path_factory.mktemp("precise") / "specserve.toml"
    config.write_text(f'[[models]]\nid = "{CHAT}"\noptions = {{ kv_cache_precision = "f32" }}\n')
    with running("--config", str(config), "--validate-responses") as server, server.client() as client:
        yield client


def made_up(chance, tokenizer_size):
    """A request that has one answer: greedy, or with a seed and not among thousands of tokens that are equally rare."""
    body = {"max_tokens": chance.choice([1, 5, 24])}
    body |= chance.choice(
        [
            {"temperature": 0},
            {"temperature": 0},
            {"seed": chance.randrange(99), "top_k": 40},
            {"temperature": 1.3, "seed": 5, "top_k": 30},
        ]
    )
    body |= chance.choice([{}, {}, {"n": 3}])
    body |= chance.choice([{}, {}, {"stop": ["e"]}, {"stop": [" is", "\n"]}, {"stop": "🎉"}])
    body |= chance.choice([{}, {}, {"frequency_penalty": 1.0}, {"min_tokens": 1, "repetition_penalty": 1.1}])
    text = " ".join(chance.choices(WORDS, k=chance.choice([1, 4, 12])))
    if chance.random() < 0.5:
        messages = [{"role": "system", "content": "Be brief."}] * chance.randrange(2) + [
            {"role": "user", "content": text}
        ]
        asked = chance.choice([{}, {"logprobs": True}, {"logprobs": True, "top_logprobs": chance.choice([1, 5, 20])}])
        return "/v1/chat/completions", body | asked | {"messages": messages}
    ids = [chance.randrange(tokenizer_size) for _ in range(5)]
    body["prompt"] = chance.choice([text, [text, "Once upon"], ids, [ids, ids[:2]]])
    body |= chance.choice([{}, {"logprobs": chance.choice([0, 1, 5])}]) | chance.choice([{}, {"echo": True}])
    if body.get("echo"):
        body |= chance.choice([{}, {"max_tokens": 0, "min_tokens": 0}])
    return "/v1/completions", body


def comparable(answer, number):
    answer = {name: value for name, value in answer.items() if name not in {"id", "created"}}
    answer["choices"] = [choice | {"logprobs": scored(choice["logprobs"], number)} for choice in answer["choices"]]
    return answer


def scored(value, number):
    """Log-probabilities with another kind of number; alternatives by token, since near equals may change places."""
    if isinstance(value, float):
        return number(value)
    if isinstance(value, list):
        return [scored(item, number) for item in value]
    if isinstance(value, dict):
        value = {name: scored(item, number) for name, item in value.items()}
        if "token" in value and "top_logprobs" in value:
            value["top_logprobs"] = {entry["token"]: entry for entry in value["top_logprobs"]}
    return value


def close(value):
    return pytest.approx(value, abs=CLOSE)


@pytest.mark.parametrize("number", range(REQUESTS))
@pytest.mark.parametrize(("server", "model", "size"), [("echo", "echo", 256), ("precise", CHAT, 49152)])
def test_a_streamed_answer_is_the_plain_answer(request, server, model, size, number):
    client = request.getfixturevalue(server)
    path, body = made_up(random.Random(number), size)
    body["model"] = model
    plain = client.post(path, json=body)
    streamed = client.post(path, json=body | {"stream": True, "stream_options": {"include_usage": True}})
    assert (plain.status_code, streamed.status_code) == (200, 200), (plain.text, body)
    assert comparable(fold(events(streamed)), float) == comparable(plain.json(), close), body
