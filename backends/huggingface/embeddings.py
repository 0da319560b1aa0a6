"""Embeddings on transformers: a model without a head, pooled as its configuration says."""

from __future__ import annotations

import array
import asyncio
import base64
import itertools
import sys
from typing import TYPE_CHECKING, Any

from specserve.backends.base import Precision
from specserve.backends.huggingface.order import LIBRARY, order
from specserve.backends.local.process.supervisor import Supervisor
from specserve.backends.local.process.worker_process import Prepared, WorkerProcess
from specserve.backends.local.vectors.embeddings import Encoder, LocalEmbeddings
from specserve.spec.errors import APIError, BackendLoadError, EngineFailure

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from specserve.backends.base import ModelSettings
    from specserve.backends.huggingface.options import HuggingFaceOptions
    from specserve.backends.local.vectors.batching import Format, Row, Vector


class _Encoder(Encoder):
    """The process of one embedding model, which is started again if it dies."""

    def __init__(
        self,
        name: str,
        process: WorkerProcess,
        launch: Callable[[], Awaitable[WorkerProcess]],
        context_length: int | None,
    ) -> None:
        from tokenizers import Tokenizer

        about = process.ready
        self.context_length = context_length or about["context_length"]
        self.dimensions, self.vocabulary = about["dimensions"], about["vocabulary"]
        self.precision = Precision(**about["precision"])
        if self.context_length > about["positions"]:
            raise BackendLoadError(f"option 'context_length' is at most {about['positions']} for this model")
        self._tokenizer = Tokenizer.from_str(about["tokenizer"])
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._ids = itertools.count(1)
        self._batches: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.supervisor = Supervisor(
            f"the engine of {name}",
            launch,
            on_report=self._take_report,
            on_loss=self._fail_all,
            has_work=lambda: bool(self._batches),
        )

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(texts)]

    async def embed(self, rows: list[tuple[Row, Format]]) -> list[Vector]:
        process = await self.supervisor.running()
        batch = next(self._ids)
        answer = self._batches[batch] = asyncio.get_running_loop().create_future()
        process.send({"id": batch, "rows": [list(row) for row, _ in rows]})
        try:
            reply = await answer
        finally:
            del self._batches[batch]
        if "failed" in reply:
            raise EngineFailure(f"The engine failed: {reply['failed']}")
        return [_as(vector, form) for vector, (_, form) in zip(reply["vectors"], rows, strict=True)]

    def _take_report(self, _process: WorkerProcess, report: dict[str, Any]) -> None:
        answer = self._batches.get(report["id"])
        if answer is not None and not answer.done():
            answer.set_result(report)

    def _fail_all(self, error: APIError) -> None:
        for answer in self._batches.values():
            if not answer.done():
                answer.set_exception(error)

    @property
    def pids(self) -> tuple[int, ...]:
        return () if self.supervisor.worker is None else (self.supervisor.worker.pid,)

    def outage(self) -> str | None:
        return self.supervisor.outage

    async def stop(self) -> None:
        await self.supervisor.stop()


def _as(vector: str, form: Format) -> Vector:
    """A vector, which the process writes as base64 of little-endian float32, as the client asked for it."""
    if form == "base64":
        return vector
    numbers = array.array("f", base64.b64decode(vector))
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tolist()


class HuggingFaceEmbeddings(LocalEmbeddings):
    """An embedding model.

    Args:
        settings: The model.
        options: Its options.
        path: A directory.
        prepared: The process to open it in.
    """

    def __init__(self, settings: ModelSettings, options: HuggingFaceOptions, path: Path, prepared: Prepared) -> None:
        super().__init__(settings, options.batch_tokens)
        self._options = options
        self._path = path
        self._prepared = prepared

    async def open_encoder(self) -> Encoder:
        """Let the process open the model."""
        described = order(self._path, self._options, "embeddings")

        async def launch() -> WorkerProcess:
            return await WorkerProcess.start(described, self._prepared.take(), LIBRARY)

        process = await launch()
        try:
            name, context_length = self.settings.id, self._options.context_length
            encoder = await asyncio.to_thread(_Encoder, name, process, launch, context_length)
        except BaseException:
            await process.stop(patience=0)
            raise
        encoder.supervisor.on_outage = self.on_outage
        await encoder.supervisor.start(_done(process))
        return encoder

    def outage(self) -> str | None:
        """What the engine says of itself."""
        return self._encoder.outage() if isinstance(self._encoder, _Encoder) else None

    def processes(self) -> tuple[int, ...]:
        """The engine's process."""
        return self._encoder.pids if isinstance(self._encoder, _Encoder) else ()


async def _done(process: WorkerProcess) -> WorkerProcess:
    return process
