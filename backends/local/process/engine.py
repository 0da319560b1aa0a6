"""The engine contract on an engine that runs in a process of its own.

The process is told, beside what `pipes.py` says (several ids are several answers to one prompt, each with its seed)::

    {"add": [ids], "seeds": [...], "prompt": [...], "config": {...}, "end_ids": [...], "grammar": EBNF or null}
    {"cancel": [ids]}

and reports one line after each step::

    {"outputs": [[id, [tokens], [logprobs], end or null, ...], ...], "running", "cache_usage"}

and ``"worn": true`` besides, if it had better begin anew when nothing runs;

`end` is ``stop``, ``length``, or ``!`` and what went wrong. A token that ends the sequence is the last of the
tokens. What may follow `end` is `RankedOutput.alternatives`, for each of the tokens, and `RankedOutput.prompt`.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import secrets
from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from specserve.backends.base import Activity
from specserve.backends.local.engine import Engine, RankedOutput, Sampling, TokenOutput
from specserve.backends.local.process.supervisor import Supervisor
from specserve.spec.errors import APIError, EngineFailure

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence

    from specserve.backends.local.process.worker_process import WorkerProcess
    from specserve.backends.local.tokens.fast_tokenizer import FastTokenizer
    from specserve.backends.local.tokens.model_files import ModelFiles

FEATURES = frozenset(
    {
        "frequency_penalty",
        "ignore_eos",
        "logprobs",
        "min_p",
        "min_tokens",
        "n",
        "presence_penalty",
        "repetition_penalty",
        "response_format",
        "seed",
        "stop",
        "temperature",
        "tools",
        "top_k",
        "top_logprobs",
        "top_p",
    }
)
"""The request parameters that both engines of this kind give effect to."""

_SEED_RANGE = 1 << 32
_log = logging.getLogger("specserve.engine")


class ProcessEngine(Engine):
    """One model in one engine process, which is started again if it dies."""

    def __init__(self, files: ModelFiles, launch: Callable[[], Awaitable[WorkerProcess]]) -> None:
        """Prepare an engine; `start` starts it.

        Args:
            files: The model, read.
            launch: Starts an engine process that has the model open.
        """
        self._files = files
        self._context_length = files.context_length
        self._ids = itertools.count(1)
        self._sequences: dict[int, _Sequence] = {}
        self._activity = Activity()
        self._supervisor = Supervisor(
            f"the engine of {files.path.name}",
            launch,
            on_report=self._take_report,
            on_loss=self._fail_all,
            has_work=lambda: bool(self._sequences),
        )

    async def start(self, launched: Awaitable[WorkerProcess] | None = None) -> None:
        """Open the model.

        Args:
            launched: The first engine process, if it is starting already.

        Raises:
            BackendLoadError: It cannot be opened.
        """
        await self._supervisor.start(launched)
        capacity = (await self._supervisor.running()).ready.get("capacity")
        if capacity is not None:
            self._context_length = min(self._context_length, capacity)

    @property
    def pids(self) -> tuple[int, ...]:
        """The processes in which it runs."""
        return () if self._supervisor.worker is None else (self._supervisor.worker.pid,)

    def outage(self) -> str | None:
        """Why it has no process just now."""
        return self._supervisor.outage

    def report_outages(self, listener: Callable[[], None]) -> None:
        """Call the listener when the process is lost, and when another runs."""
        self._supervisor.on_outage = listener

    @property
    def tokenizer(self) -> FastTokenizer:
        """The model's tokenizer."""
        return self._files.tokenizer

    @property
    def context_length(self) -> int:
        """Most tokens of prompt and answer together: what the model was made for, if the KV cache can hold it."""
        return self._context_length

    @property
    def chat_template(self) -> str | None:
        """The model's own Jinja chat template, or None for a base model."""
        return self._files.chat_template

    @property
    def special_tokens(self) -> dict[str, str]:
        """Texts of ``bos_token``, ``eos_token``, ``pad_token``, those the model has."""
        return dict(self._files.special_tokens)

    def activity(self) -> Activity:
        """What the engine process last reported."""
        return self._activity

    @abstractmethod
    def config(self, sampling: Sampling) -> Mapping[str, Any]:
        """What the process is told of how to choose tokens, but for the seed and the tokens that end a sequence."""

    async def generate(
        self, prompt: Sequence[int], sampling: Sampling, n: int
    ) -> AsyncGenerator[list[TokenOutput], None]:
        """Generate `n` sequences; see the contract."""
        process = await self._supervisor.running()
        mailbox: asyncio.Queue[list[TokenOutput] | APIError] = asyncio.Queue()
        ids = list(itertools.islice(self._ids, n))
        for index, sequence_id in enumerate(ids):
            self._sequences[sequence_id] = _Sequence(index, sampling, self._files, mailbox)
        seed = secrets.randbelow(_SEED_RANGE) if sampling.seed is None else sampling.seed
        process.send(
            {
                "add": ids,
                "seeds": [(seed + index) % _SEED_RANGE for index in range(n)],
                "prompt": list(prompt),
                "config": self.config(sampling),
                "end_ids": self._files.end_ids,
                "grammar": None if sampling.grammar is None else sampling.grammar.ebnf(),
            }
        )
        try:
            unfinished = n
            while unfinished:
                news = await mailbox.get()
                if isinstance(news, APIError):
                    raise news
                unfinished -= sum(output.finish_reason is not None for output in news)
                yield news
        finally:
            self._forget(process, [sequence_id for sequence_id in ids if sequence_id in self._sequences])

    async def stop(self) -> None:
        """End everything; running generations raise `Unavailable`."""
        await self._supervisor.stop()

    def _forget(self, process: WorkerProcess, ids: list[int]) -> None:
        for sequence_id in ids:
            self._sequences.pop(sequence_id, None)
        if ids:
            process.send({"cancel": ids})

    def _take_report(self, process: WorkerProcess, report: dict[str, Any]) -> None:
        self._activity = Activity(report["running"], report["cache_usage"])
        self._distribute(process, report["outputs"])
        if report.get("worn") and not self._sequences:
            self._supervisor.renew()

    def _distribute(self, process: WorkerProcess, outputs: list[list[Any]]) -> None:
        """Hand what one step brought to the requests it belongs to, each in one piece."""
        news: dict[asyncio.Queue[list[TokenOutput] | APIError], list[TokenOutput]] = {}
        for sequence_id, tokens, logprobs, end, *ranks in outputs:
            sequence = self._sequences.get(sequence_id)
            if sequence is None:
                continue  # cancelled while the step ran
            failure = end[1:] if end is not None and end.startswith("!") else self._fault(tokens)
            if failure:
                sequence.mailbox.put_nowait(EngineFailure(failure))
                self._forget(process, [sequence_id])
                continue
            output = sequence.take(tokens, logprobs, end, *ranks)
            if output.finish_reason is not None:
                del self._sequences[sequence_id]
                if end is None:  # ended by a stop string, which the engine does not know of
                    process.send({"cancel": [sequence_id]})
            news.setdefault(sequence.mailbox, []).append(output)
        for mailbox, its_outputs in news.items():
            mailbox.put_nowait(its_outputs)

    def _fault(self, tokens: Sequence[int]) -> str:
        """What is wrong with the tokens that the engine gave, if anything is."""
        if not tokens or (min(tokens) >= 0 and max(tokens) < self.tokenizer.size):
            return ""
        _log.error("the engine of %s gave a token that the model does not have: %s", self._files.path, tokens)
        return "The engine gave a token that this model does not have."

    def _fail_all(self, error: APIError) -> None:
        """End what runs."""
        self._activity = Activity()
        for mailbox in {sequence.mailbox for sequence in self._sequences.values()}:
            mailbox.put_nowait(error)
        self._sequences.clear()


class _Sequence:
    """One of the `n` answers to a prompt."""

    def __init__(
        self,
        index: int,
        sampling: Sampling,
        files: ModelFiles,
        mailbox: asyncio.Queue[list[TokenOutput] | APIError],
    ) -> None:
        self.mailbox = mailbox
        self._index = index
        self._sampling = sampling
        self._files = files
        self._stops = [stop.encode() for stop in sampling.stop if stop]
        self._tail = b""
        self._count = 0

    def take(
        self,
        tokens: list[int],
        logprobs: list[float],
        end: Any,
        alternatives: list[Any] | None = None,
        prompt: list[Any] | None = None,
    ) -> TokenOutput:
        """Turn what the engine reports into the contract's terms."""
        self._count += len(tokens)
        ended_by, last = None, None
        if end == "stop" and tokens and tokens[-1] in self._files.end_ids and not self._sampling.ignore_eos:
            ended_by = tokens[-1]
            if alternatives:
                last = (logprobs[-1], alternatives[-1])
                alternatives = alternatives[:-1]
            tokens, logprobs = tokens[:-1], logprobs[:-1]
        if end is None and self._stops and self._meets_stop_string(tokens):
            end = "stop"
        logprobs = logprobs if self._sampling.logprobs else []
        if alternatives is None:
            return TokenOutput(self._index, tokens, logprobs, end, ended_by=ended_by)
        return RankedOutput(
            self._index, tokens, logprobs, end, None, ended_by, alternatives=alternatives, prompt=prompt, end=last
        )

    def _meets_stop_string(self, tokens: list[int]) -> bool:
        """Whether a stop string is complete now. One that begins before `min_tokens` ends nothing."""
        early = self._sampling.min_tokens - 1 - (self._count - len(tokens))  # how many of the tokens come before that
        text = self._tail + self._files.tokenizer.text_bytes(tokens[max(0, early) :])
        longest = max(map(len, self._stops))
        self._tail = text[1 - longest :] if longest > 1 else b""
        return any(stop in text for stop in self._stops)
