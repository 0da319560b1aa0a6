"""The server's end of the scorer process, and how what the engine chose meets what the scorer says of it."""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any

from specserve.backends.base import WorkerSettings
from specserve.backends.local.engine import Alternatives, RankedOutput, Sampling, TokenOutput
from specserve.backends.local.process.supervisor import Supervisor
from specserve.backends.local.process.worker_process import Prepared, WorkerProcess
from specserve.spec.errors import APIError, BackendLoadError, EngineFailure

_MODULE = "specserve.backends.openvino.scorer_worker"

Ranked = tuple[float, Alternatives]
_News = tuple[int, list[Ranked]] | list[TokenOutput] | Exception | None
"""Ranks of one sequence's tokens, what the engine brought, what went wrong with either, or the engine's end."""


async def launch_scorer(folder: str, threads: int | None, workers: WorkerSettings) -> WorkerProcess:
    """Start a process that has the model of a folder open.

    Args:
        folder: With the model as OpenVINO has it.
        threads: CPU threads, or None for all cores.
        workers: What holds for such processes.

    Raises:
        BackendLoadError: It cannot be opened.
    """
    return await WorkerProcess.start(
        {"model": folder, "threads": threads}, Prepared(_MODULE, workers).take(), "OpenVINO"
    )


class Scorer:
    """Ranks texts.

    Costs nothing before the first is opened; then a process, which stays, and which is started again if it dies.
    """

    def __init__(self, launch: Callable[[], Awaitable[WorkerProcess]], name: str = "the scorer") -> None:
        self.supervisor = Supervisor(
            name, launch, on_report=self._route, on_loss=self._fail_all, has_work=lambda: bool(self._owed)
        )
        self._ids = itertools.count(1)
        self._routes: dict[int, tuple[asyncio.Queue[_News], int]] = {}
        self._owed: dict[int, int] = {}  # text -> ranks that the process has still to report

    @property
    def pid(self) -> int | None:
        """The process's id, if it runs."""
        worker = self.supervisor.worker
        return None if worker is None else worker.pid

    async def open(self, mailbox: asyncio.Queue[_News], prompt: Sequence[int], n: int, *, rank_prompt: bool) -> Texts:
        """Open `n` continuations of a prompt; their ranks come into the mailbox. To be closed.

        Raises:
            EngineFailure: The process cannot be started.
            Unavailable: It broke and is being started again, or was stopped.
        """
        try:
            process = await self.supervisor.running()
        except BackendLoadError as error:
            raise EngineFailure(f"The model cannot be opened to score tokens: {error}") from error
        ids = list(itertools.islice(self._ids, n))
        self._routes |= {text_id: (mailbox, index) for index, text_id in enumerate(ids)}
        if rank_prompt and len(prompt) > 1:
            self._owed[ids[0]] = len(prompt) - 1
        process.send({"open": ids, "prompt": list(prompt), "rank_prompt": rank_prompt})
        return Texts(self, process, ids)

    async def stop(self) -> None:
        """End the process; open texts fail."""
        await self.supervisor.stop()

    def add(self, process: WorkerProcess, text_id: int, tokens: list[int]) -> None:
        """Go on with a text."""
        if text_id in self._routes:  # else its process is gone, or it is closed
            self._owed[text_id] = self._owed.get(text_id, 0) + len(tokens)
            process.send({"add": text_id, "tokens": tokens})

    def forget(self, process: WorkerProcess, ids: list[int]) -> None:
        """Close texts."""
        for text_id in ids:
            self._routes.pop(text_id, None)
            self._owed.pop(text_id, None)
        process.send({"close": ids})

    def _route(self, _process: WorkerProcess, report: dict[str, Any]) -> None:
        if "broken" in report:
            self._owed.pop(report["broken"], None)
            route = self._routes.get(report["broken"])
            if route is not None:
                route[0].put_nowait(EngineFailure(report["why"]))
            return
        text_id, ranks = report["ranks"]
        route = self._routes.get(text_id)
        if route is not None:
            mailbox, index = route
            mailbox.put_nowait((index, [(own, list(zip(ids, others, strict=True))) for own, ids, others in ranks]))
            left = self._owed.pop(text_id, 0) - len(ranks)
            if left > 0:
                self._owed[text_id] = left

    def _fail_all(self, error: APIError) -> None:
        for mailbox in {mailbox for mailbox, _ in self._routes.values()}:
            mailbox.put_nowait(error)
        self._routes.clear()
        self._owed.clear()


class Texts:
    """Open continuations of one prompt."""

    def __init__(self, scorer: Scorer, process: WorkerProcess, ids: list[int]) -> None:
        self._scorer = scorer
        self._process = process
        self._ids = ids

    def add(self, index: int, tokens: list[int]) -> None:
        """Go on with one of them."""
        self._scorer.add(self._process, self._ids[index], tokens)

    def close(self) -> None:
        """Close them all; what they held in memory is freed."""
        self._scorer.forget(self._process, self._ids)


async def ranked(
    outputs: AsyncGenerator[list[TokenOutput], None],
    scorer: Scorer,
    prompt: Sequence[int],
    sampling: Sampling,
    n: int,
) -> AsyncGenerator[list[TokenOutput], None]:
    """What the engine brings, each token when the scorer has ranked it.

    The engine does not wait for the scorer: what is behind is ranked in larger parts.
    """
    mailbox: asyncio.Queue[_News] = asyncio.Queue()
    pump = asyncio.create_task(_pump(outputs, mailbox))
    texts = None
    early: deque[list[TokenOutput] | None] = deque()  # what the engine brought before the prompt was ranked, in order
    try:
        texts = await scorer.open(mailbox, prompt, n, rank_prompt=sampling.rank_prompt)
        if sampling.rank_prompt:
            ranks: list[Ranked] = []
            while len(ranks) < len(prompt) - 1:
                news = await mailbox.get()
                if isinstance(news, Exception):
                    raise news
                if isinstance(news, tuple):
                    ranks += news[1]
                else:
                    early.append(news)
            yield [RankedOutput(0, [], [], prompt=ranks)]
        waiting = [_Waiting(index) for index in range(n)]
        while not all(sequence.finished for sequence in waiting):
            news = early.popleft() if early else await mailbox.get()
            if isinstance(news, Exception):
                raise news
            if news is None:
                if not all(sequence.ended for sequence in waiting):
                    raise EngineFailure("The engine stopped before the answer was finished.")
                continue
            if isinstance(news, tuple):
                yield [waiting[news[0]].take(news[1])]
                continue
            ended = []
            for output in news:
                tokens = output.token_ids if output.ended_by is None else [*output.token_ids, output.ended_by]
                if tokens:
                    texts.add(output.index, tokens)
                ended += waiting[output.index].expect(output)
            if ended:
                yield ended
    finally:
        if texts is not None:
            texts.close()
        pump.cancel()
        await asyncio.wait([pump])


async def _pump(outputs: AsyncGenerator[list[TokenOutput], None], mailbox: asyncio.Queue[_News]) -> None:
    try:
        async with aclosing(outputs):
            async for news in outputs:
                mailbox.put_nowait(news)
        mailbox.put_nowait(None)
    except Exception as error:  # noqa: BLE001 - it is raised again where the mailbox is read
        mailbox.put_nowait(error)


class _Waiting:
    """What the engine brought of one sequence and the scorer has not ranked yet."""

    def __init__(self, index: int) -> None:
        self._index = index
        self._tokens: list[int] = []
        self._end: Any = None
        self._ended_by: int | None = None
        self._cached: int | None = None
        self.finished = False

    @property
    def ended(self) -> bool:
        """Whether the engine has brought all of the sequence."""
        return self._end is not None

    def expect(self, output: TokenOutput) -> list[TokenOutput]:
        """Take what the engine brought; returns the sequence's end if nothing of it waits."""
        self._tokens += output.token_ids
        if output.ended_by is not None:
            self._tokens.append(output.ended_by)
            self._ended_by = output.ended_by
        self._end = output.finish_reason or self._end
        self._cached = output.cached_tokens if output.cached_tokens is not None else self._cached
        return [self.take([])] if self._end and not self._tokens else []

    def take(self, ranks: list[Ranked]) -> TokenOutput:
        """Match ranks with the tokens they belong to.

        Raises:
            EngineFailure: There are more ranks than tokens.
        """
        if len(ranks) > len(self._tokens):
            raise EngineFailure("The scorer ranked tokens that it was not given.")
        tokens, self._tokens = self._tokens[: len(ranks)], self._tokens[len(ranks) :]
        end = self._end if not self._tokens else None
        self.finished = end is not None
        cached, self._cached = self._cached, None
        last = None
        if end and self._ended_by is not None:
            last, ranks, tokens = ranks[-1], ranks[:-1], tokens[:-1]
        own = [logprob for logprob, _ in ranks]
        others = [alternatives for _, alternatives in ranks]
        by = self._ended_by if last else None
        return RankedOutput(self._index, tokens, own, end, cached, by, alternatives=others, end=last)
