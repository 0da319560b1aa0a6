"""What evaluations do: a context and its continuation sent as a prompt, scored, with a token more than they want."""

import json
from concurrent.futures import ThreadPoolExecutor

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


def test_a_scored_prompt_and_its_answer_keep_their_order_while_others_run(default):
    def streamed(prompt):
        body = {"model": CHAT, "prompt": prompt, "max_tokens": 24, "temperature": 0, "echo": True, "logprobs": 1}
        with default.stream("POST", "/v1/completions", json=body | {"stream": True}) as answer:
            lines = [line.removeprefix("data: ") for line in answer.iter_lines() if line.startswith("data: {")]
        return [choice for line in lines for choice in json.loads(line)["choices"]]

    prompts = [f"{CONTEXT} {'very ' * times}far from" for times in (0, 3, 9, 27)]
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(streamed, prompts))
    for prompt, choices in zip(prompts, answers, strict=True):
        text = "".join(choice["text"] for choice in choices)
        tokens = [token for choice in choices if choice["logprobs"] for token in choice["logprobs"]["tokens"]]
        values = [value for choice in choices if choice["logprobs"] for value in choice["logprobs"]["token_logprobs"]]
        assert text.startswith(prompt)
        assert "".join(tokens).removesuffix("<|im_end|>") == text
        again = scored(default, text, max_tokens=0)["logprobs"]
        if again["tokens"] == tokens:  # else its own text is cut into other tokens when it is a prompt
            assert values[1:] == pytest.approx(again["token_logprobs"][1:], abs=1e-4)
