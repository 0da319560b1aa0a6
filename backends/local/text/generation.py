"""Runs a plan on the engine: several prompts at once, several answers to each, one stream of what they gain."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING

from specserve.backends.local.engine import RankedOutput, TokenOutput
from specserve.backends.local.text.answer import Answer
from specserve.backends.local.text.best_of import best
from specserve.backends.local.text.echoed_prompt import EchoedPrompt
from specserve.backends.local.text.usage import Usage
from specserve.spec.errors import EngineFailure

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from specserve.backends.local.engine import Engine
    from specserve.backends.local.text.answer import Delta
    from specserve.backends.local.text.plan import Job, Plan


class Generation:
    """One request at work. `steps` is to be called once, `usage` after it ended."""

    def __init__(self, engine: Engine, plan: Plan) -> None:
        self._engine = engine
        self._plan = plan
        self._answers = [
            Answer(
                index,
                engine.tokenizer,
                job.sampling.stop,
                plan.alternatives,
                plan.thinking,
                start=len(job.echoed or ""),
                shows_end=plan.shows_end,
                min_tokens=job.sampling.min_tokens,
            )
            for at, job in enumerate(plan.jobs)
            for index in range(at * plan.generated, (at + 1) * plan.generated)
        ]
        self._cached: dict[int, int] = {}

    def steps(self) -> AsyncGenerator[list[Delta], None]:
        """What the choices gained, step by step; nothing, once, if the engine says that it has taken the request.

        Closing it stops the engine's work for this request.
        """
        sources = [self._best(at, self._run(at, job)) for at, job in enumerate(self._plan.jobs)]
        return sources[0] if len(sources) == 1 else _merged(sources)

    def usage(self) -> Usage:
        """What it took."""
        return Usage(
            prompt_tokens=sum(len(job.prompt) for job in self._plan.jobs),
            completion_tokens=sum(answer.completion_tokens for answer in self._answers),
            cached_tokens=sum(self._cached.values()) if self._cached else None,
            reasoning_tokens=sum(answer.reasoning_tokens for answer in self._answers),
        )

    def _best(self, at: int, steps: AsyncGenerator[list[Delta], None]) -> AsyncGenerator[list[Delta], None]:
        n = self._plan.n
        return best(steps, self._answers_to(at), n, at * n) if self._plan.candidates else steps

    def _answers_to(self, at: int) -> list[Answer]:
        count = self._plan.generated
        return self._answers[at * count : (at + 1) * count]

    async def _run(self, at: int, job: Job) -> AsyncGenerator[list[Delta], None]:
        """The answers to one prompt."""
        answers = self._answers_to(at)
        echoed = None if job.echoed is None else EchoedPrompt(job.echoed, job.prompt)
        if job.sampling.max_tokens == 0 and not job.sampling.rank_prompt:
            if echoed:
                yield self._begun(echoed, answers)
            yield [answer.add(TokenOutput(j, [], [], "length")) for j, answer in enumerate(answers)]
            return
        running = len(answers)
        # Stop strings end answers, not thoughts, which the engine cannot tell apart.
        sampling = job.sampling if self._plan.thinking is None else replace(job.sampling, stop=())
        async with aclosing(self._engine.generate(job.prompt, sampling, len(answers))) as outputs:
            async for step in outputs:
                if not step:
                    yield []
                    continue
                deltas = []
                if echoed:
                    if isinstance(step[0], RankedOutput):
                        echoed = replace(echoed, ranks=step[0].prompt)
                    deltas = self._begun(echoed, answers)
                    echoed = None
                for output in step:
                    if output.cached_tokens is not None:
                        self._cached[at] = output.cached_tokens
                    answer = answers[output.index]
                    if not answer.finished:  # else the engine has not noticed yet that a stop string ended it
                        deltas.append(answer.add(output))
                        running -= answer.finished
                if deltas:
                    yield deltas
                if not running:
                    return
        raise EngineFailure("The engine ended before the answer did.")

    def _begun(self, echoed: EchoedPrompt, answers: list[Answer]) -> list[Delta]:
        """The echo of the prompt, at the beginning of each answer to it."""
        return [echoed.delta(answer.index, self._engine.tokenizer, self._plan.alternatives) for answer in answers]


async def _merged(sources: list[AsyncGenerator[list[Delta], None]]) -> AsyncGenerator[list[Delta], None]:
    """The steps of all sources as they come. Each is closed when the merged one is."""
    # One place each: a reader that falls behind slows its own sources and fills no memory.
    queue: asyncio.Queue[list[Delta] | BaseException | None] = asyncio.Queue(maxsize=len(sources))

    async def pump(source: AsyncGenerator[list[Delta], None]) -> None:
        try:
            async with aclosing(source):
                async for deltas in source:
                    await queue.put(deltas)
            await queue.put(None)
        except Exception as error:  # noqa: BLE001 - it is raised again where the steps are read
            await queue.put(error)

    tasks = [asyncio.create_task(pump(source)) for source in sources]
    try:
        running = len(tasks)
        while running:
            item = await queue.get()
            if isinstance(item, BaseException):
                raise item
            if item is None:
                running -= 1
            else:
                yield item
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
