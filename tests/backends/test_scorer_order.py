"""How what the engine chose meets what the scorer says of it, in every order in which the two can come."""

from __future__ import annotations

import asyncio
import itertools
from collections import defaultdict
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Any

import pytest

from specserve.backends.local.engine import RankedOutput, Sampling, TokenOutput
from specserve.backends.openvino.scorer import Scorer, Texts, ranked
from specserve.spec.errors import EngineFailure, Unavailable

PROMPT = [1, 2, 3, 4]
END = 99


def rank(token: int) -> tuple[float, list[tuple[int, float]]]:
    return -float(token), [(token, -float(token))]


class Engine:
    """Brings an output when the schedule says so."""

    def __init__(self, outputs: list[list[TokenOutput]]) -> None:
        self.left = list(outputs)
        self.brought: asyncio.Queue[list[TokenOutput] | None] = asyncio.Queue()
        if not self.left:
            self.brought.put_nowait(None)

    def step(self) -> bool:
        if not self.left:
            return False
        self.brought.put_nowait(self.left.pop(0))
        if not self.left:
            self.brought.put_nowait(None)
        return True

    async def outputs(self) -> AsyncGenerator[list[TokenOutput], None]:
        while (news := await self.brought.get()) is not None:
            yield news


class Ranker:
    """A scorer that ranks what it has, one token at a time, when the schedule says so."""

    def __init__(self) -> None:
        self.todo: list[tuple[int, int]] = []
        self.mailbox: asyncio.Queue[Any] = asyncio.Queue()
        self.closed = False

    async def open(self, mailbox: asyncio.Queue[Any], prompt: list[int], n: int, *, rank_prompt: bool) -> Ranker:
        self.mailbox = mailbox
        self.todo = [(0, token) for token in prompt[1:]] if rank_prompt else []
        return self

    def add(self, index: int, tokens: list[int]) -> None:
        self.todo += [(index, token) for token in tokens]

    def close(self) -> None:
        self.closed = True

    def step(self) -> bool:
        if not self.todo:
            return False
        index, token = self.todo.pop(0)
        self.mailbox.put_nowait((index, [rank(token)]))
        return True


async def breathe() -> None:
    for _ in range(30):
        await asyncio.sleep(0)


async def play(outputs: list[list[TokenOutput]], n: int, schedule: Iterator[str]) -> list[TokenOutput]:
    """Everything that comes out when the engine (E), the scorer (S) and the reader (R) move in this order."""
    engine, ranker = Engine(outputs), Ranker()
    found: list[TokenOutput] = []

    async def read() -> None:
        sampling = Sampling(max_tokens=10, rank_prompt=True, ranked=True, logprobs=True)
        async with aclosing(ranked(engine.outputs(), ranker, PROMPT, sampling, n)) as news:  # type: ignore[arg-type]
            async for step in news:
                found.extend(step)

    async with asyncio.timeout(30):
        reader = asyncio.create_task(read())
        await breathe()
        for move in schedule:
            {"E": engine.step, "S": ranker.step, "R": lambda: None}[move]()
            if move == "R":
                await breathe()
        while not reader.done():
            moved = [engine.step(), ranker.step()]
            await breathe()
            assert any(moved) or ranker.todo or reader.done(), "everything was brought and the request did not end"
        await reader
    assert ranker.closed
    return found


def check(found: list[TokenOutput], expected: dict[int, list[int]], ends: dict[int, str]) -> None:
    tokens, own, finished = defaultdict(list), defaultdict(list), {}
    for output in found:
        assert isinstance(output, RankedOutput)
        assert output.index not in finished, "nothing follows the end of a sequence"
        assert len(output.token_ids) == len(output.logprobs) == len(output.alternatives)
        tokens[output.index] += output.token_ids
        own[output.index] += output.logprobs
        if output.finish_reason:
            finished[output.index] = output.finish_reason
    assert dict(tokens) == expected
    assert {index: [-logprob for logprob in values] for index, values in own.items()} == expected
    assert finished == ends


def schedules(*moves: tuple[str, int]) -> list[tuple[str, ...]]:
    letters = "".join(letter * count for letter, count in moves)
    return sorted(set(itertools.permutations(letters)))


def test_one_answer_keeps_its_order_in_every_interleaving() -> None:
    outputs = [
        [TokenOutput(0, [10], [])],
        [TokenOutput(0, [11, 12], [])],
        [TokenOutput(0, [13], [], "stop", ended_by=END)],
    ]

    async def every() -> None:
        for schedule in schedules(("E", 3), ("S", 3), ("R", 2)):
            found = await play(outputs, 1, iter(schedule))
            assert isinstance(found[0], RankedOutput)
            assert found[0].prompt == [rank(token) for token in PROMPT[1:]]
            check(found, {0: [10, 11, 12, 13]}, {0: "stop"})
            assert isinstance(found[-1], RankedOutput)
            assert found[-1].end == rank(END)

    asyncio.run(every())


def test_two_answers_keep_their_orders_in_every_interleaving() -> None:
    outputs = [
        [TokenOutput(0, [10], []), TokenOutput(1, [20], [])],
        [TokenOutput(1, [], [], "length")],
        [TokenOutput(0, [11], [], "length")],
    ]

    async def every() -> None:
        for schedule in schedules(("E", 3), ("S", 3), ("R", 1)):
            check(await play(outputs, 2, iter(schedule)), {0: [10, 11], 1: [20]}, {0: "length", 1: "length"})

    asyncio.run(every())


def test_an_engine_that_stops_without_ending_its_answer_fails_the_request() -> None:
    with pytest.raises(EngineFailure):
        asyncio.run(play([[TokenOutput(0, [10], [])]], 1, iter("ESR")))


class Worker:
    """The part of an engine process that the scorer uses; its reports are written by a test."""

    pid = 1
    reported = 2  # it had worked: another is started at once
    silence_seconds = 0.0  # not watched

    def __init__(self) -> None:
        self.lines: asyncio.Queue[Any] = asyncio.Queue()
        self.sent: list[dict[str, Any]] = []
        self.stopped = asyncio.Event()

    def send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)

    async def reports(self) -> AsyncGenerator[Any, None]:
        while (report := await self.lines.get()) is not None:
            if isinstance(report, Exception):
                raise report
            yield report

    async def stop(self, patience: float = 0) -> None:
        self.stopped.set()

    def describe_end(self) -> str:
        return "ended"


@pytest.mark.parametrize(
    "report", [{}, {"ranks": [1]}, {"ranks": [1, [[0.0]]]}, {"ranks": None}, [], ValueError("no JSON"), None]
)
def test_a_scorer_whose_reports_cannot_be_read_fails_what_waits_and_is_started_again(report: object) -> None:
    async def go() -> None:
        processes = [Worker(), Worker()]
        starts = iter(processes)

        async def launch() -> Any:
            return next(starts)

        scorer = Scorer(launch)
        mailbox: asyncio.Queue[Any] = asyncio.Queue()
        await scorer.open(mailbox, PROMPT, 1, rank_prompt=True)
        processes[0].lines.put_nowait(report)
        async with asyncio.timeout(30):
            assert isinstance(await mailbox.get(), EngineFailure)
            await processes[0].stopped.wait()
            while scorer.pid is None:  # a step of the loop or two
                await asyncio.sleep(0)
            texts = await scorer.open(mailbox, PROMPT, 1, rank_prompt=True)
            assert isinstance(texts, Texts)
            [opened] = processes[1].sent
            processes[1].lines.put_nowait({"ranks": [opened["open"][0], [[-0.5, [7], [-0.5]]]]})
            assert await mailbox.get() == (0, [(-0.5, [(7, -0.5)])])
            await scorer.stop()
        assert isinstance(mailbox.get_nowait(), Unavailable)
        with pytest.raises(Unavailable):
            await scorer.open(mailbox, PROMPT, 1, rank_prompt=True)

    asyncio.run(go())
