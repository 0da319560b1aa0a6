"""The OpenVINO engine without a server: how to open one, ask it and wait for it."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncGenerator, Callable, Coroutine
from pathlib import Path
from typing import Any

from specserve.backends.base import ModelSettings
from specserve.backends.local.engine import Sampling, TokenOutput
from specserve.backends.openvino.engine import OpenVINOEngine
from specserve.backends.openvino.text import OpenVINOText

GREEDY = Sampling(max_tokens=32, temperature=0)
ENDLESS = Sampling(max_tokens=2000, ignore_eos=True)
PARIS = "What is the capital of France?"
POEM = "Write a poem about rivers."


def open_engine(source: Path | str, **options: object) -> Coroutine[Any, Any, OpenVINOEngine]:
    return OpenVINOText(ModelSettings("m", "openvino", str(source), options=options)).open_engine()


@dataclasses.dataclass
class Answer:
    steps: list[list[int]] = dataclasses.field(default_factory=list)
    logprobs: list[float] = dataclasses.field(default_factory=list)
    finish_reason: str | None = None
    text: str = ""

    @property
    def ids(self) -> list[int]:
        return [token_id for step in self.steps for token_id in step]


def prompt(engine: OpenVINOEngine, question: str) -> list[int]:
    text = f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
    return engine.tokenizer.encode(text, add_special_tokens=False)


async def answers(engine: OpenVINOEngine, question: str, sampling: Sampling, n: int) -> list[Answer]:
    result = [Answer() for _ in range(n)]
    async for outputs in engine.generate(prompt(engine, question), sampling, n):
        for output in outputs:
            answer = result[output.index]
            assert answer.finish_reason is None
            answer.steps.append(output.token_ids)
            answer.logprobs += output.logprobs
            answer.finish_reason = output.finish_reason
    for answer in result:
        answer.text = b"".join(map(engine.tokenizer.token_bytes, answer.ids)).decode("utf-8", "replace")
    return result


async def ask(engine: OpenVINOEngine, question: str, sampling: Sampling = GREEDY, **changes: object) -> Answer:
    [answer] = await answers(engine, question, dataclasses.replace(sampling, **changes), 1)
    await idle(engine)
    return answer


async def until(met: Callable[[], bool], seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not met():
            await asyncio.sleep(0.005)


async def idle(engine: OpenVINOEngine) -> None:
    await until(lambda: engine.activity().running == 0)


async def begun(engine: OpenVINOEngine, question: str = POEM, n: int = 1) -> AsyncGenerator[list[TokenOutput], None]:
    generation = engine.generate(prompt(engine, question), ENDLESS, n)
    await anext(generation)
    return generation
