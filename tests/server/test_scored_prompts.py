"""What evaluations do: a context and its continuation sent as a prompt, scored, with a token more than they want."""

import pytest
from servers import CHAT

CONTEXT = "The capital of France is"


def scored(client, prompt, **changes):
    body = {"model": CHAT, "prompt": prompt, "max_tokens": 1, "temperature": 0, "echo": True, "logprobs": 5}
    answer = client.post("/v1/completions", json=body | changes)
    assert answer.status_code == 200, answer.text
    [choice] = answer.json()["choices"]
    return choice


def test_the_last_entry_is_never_the_prompts_also_if_the_model_ends_the_text(default):
    for continuation in (" Paris.", " a banana.", " Paris"):
        alone = scored(default, CONTEXT + continuation, max_tokens=0)["logprobs"]
        more = scored(default, CONTEXT + continuation)
        assert more["logprobs"]["tokens"][:-1] == alone["tokens"]
        assert more["logprobs"]["token_logprobs"][1:-1] == pytest.approx(alone["token_logprobs"][1:], abs=1e-4)
        if more["finish_reason"] == "stop":
            assert more["text"] == CONTEXT + continuation
            assert more["logprobs"]["tokens"][-1] == "<|im_end|>"
            assert more["logprobs"]["text_offset"][-1] == len(more["text"])
    assert more["text"] == f"{CONTEXT}{continuation}."


def test_a_token_is_the_likeliest_if_its_value_is_the_highest_of_those_shown(default):
    logprobs = scored(default, f"{CONTEXT} Paris.", max_tokens=0)["logprobs"]
    values = zip(logprobs["token_logprobs"][1:], logprobs["top_logprobs"][1:], strict=True)
    greedy = [own == max(top.values()) for own, top in values]
    assert greedy[-2:] == [True, True]
    assert not all(greedy)


def test_tokens_and_text_are_scored_alike(default, tmp_path):
    ids = [504, 3575, 282, 4649, 314, 7042]  # "The capital of France is Paris"
    text = scored(default, f"{CONTEXT} Paris", max_tokens=0)
    tokens = scored(default, ids, max_tokens=0)
    assert tokens == text


def test_the_best_of_several_answers_are_the_likeliest_by_token(default):
    body = {"model": CHAT, "prompt": CONTEXT, "max_tokens": 12, "seed": 3, "stop": ["."], "logprobs": 0}
    every = default.post("/v1/completions", json=body | {"n": 5}).json()
    best = default.post("/v1/completions", json=body | {"n": 2, "best_of": 5}).json()

    def mean(choice):
        values = choice["logprobs"]["token_logprobs"]
        return sum(values) / len(values)

    assert best["usage"]["completion_tokens"] == every["usage"]["completion_tokens"]
    first, second = best["choices"]
    assert (first["index"], second["index"]) == (0, 1)
    assert {first["text"], second["text"]} <= {choice["text"] for choice in every["choices"]}
    assert mean(first) >= mean(second) - 0.5  # a stop string's own tokens count too, and are not shown
