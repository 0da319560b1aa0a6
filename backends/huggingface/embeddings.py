"""Embeddings on transformers: a model without a head, pooled as its configuration says."""

from __future__ import annotations

import array
import asyncio
import base64
import sys
from typing import TYPE_CHECKING, Any

from specserve.backends.huggingface.order import LIBRARY, order
from specserve.backends.local.process.worker_process import Prepared, WorkerProcess
from specserve.backends.local.vectors.embeddings import Encoder, LocalEmbeddings
from specserve.spec.errors import BackendLoadError, EngineFailure

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from specserve.backends.base import ModelSettings
    from specserve.backends.huggingface.options import HuggingFaceOptions
    from specserve.backends.local.vectors.batching import Format, Row, Vector


class _Encoder(Encoder):
    """The process of one embedding model, which is started again if it dies."""

    def __init__(
        self, process: WorkerProcess, launch: Callable[[], Awaitable[WorkerProcess]], context_length: int | None
    ) -> None:
        from tokenizers import Tokenizer

        about = process.ready
        self.context_length = context_length or about["context_length"]
        self.dimensions, self.vocabulary = about["dimensions"], about["vocabulary"]
        if self.context_length > about["positions"]:
            raise BackendLoadError(f"option 'context_length' is at most {about['positions']} for this model")
        self._tokenizer = Tokenizer.from_str(about["tokenizer"])
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._process: WorkerProcess | None = process
        self._launch = launch

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(texts)]

    async def embed(self, rows: list[tuple[Row, Format]]) -> list[Vector]:
        if self._process is None:
            try:
                self._process = await self._launch()
            except BackendLoadError as error:
                raise EngineFailure("The engine broke and could not be started again.") from error
        process = self._process
        process.send({"rows": [list(row) for row, _ in rows]})
        reply: dict[str, Any] = await anext(process.reports(), {})
        if not reply:
            self._process = None
            await process.stop()
            raise EngineFailure("The engine broke while it worked on this request.")
        if "failed" in reply:
            raise EngineFailure(f"The engine failed: {reply['failed']}")
        return [_as(vector, form) for vector, (_, form) in zip(reply["vectors"], rows, strict=True)]

    @property
    def pids(self) -> tuple[int, ...]:
        return () if self._process is None else (self._process.pid,)

    async def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            await process.stop()


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
            return await asyncio.to_thread(_Encoder, process, launch, self._options.context_length)
        except BaseException:
            await process.stop(patience=0)
            raise

    def processes(self) -> tuple[int, ...]:
        """The engine's process."""
        return self._encoder.pids if isinstance(self._encoder, _Encoder) else ()
