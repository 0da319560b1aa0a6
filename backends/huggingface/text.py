"""Chat and completions on transformers."""

from __future__ import annotations

import asyncio
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from specserve.backends.base import ModelSettings, Precision
from specserve.backends.huggingface.order import LIBRARY, order
from specserve.backends.local.backend import LocalBackend
from specserve.backends.local.engine import Sampling
from specserve.backends.local.process.engine import FEATURES, ProcessEngine
from specserve.backends.local.process.worker_process import Prepared, WorkerProcess
from specserve.backends.local.tokens.fast_tokenizer import tokenizer_from_json, tokenizer_from_text
from specserve.backends.local.tokens.model_files import ModelFiles, read_directory, read_gguf
from specserve.backends.local.tokens.vocabulary import described
from specserve.spec.errors import BackendLoadError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from specserve.backends.huggingface.options import HuggingFaceOptions


class HuggingFaceEngine(ProcessEngine):
    """The process of one text model."""

    def config(self, sampling: Sampling) -> Mapping[str, Any]:
        """All that is asked; stop strings are looked for on this side."""
        asked = {field.name: getattr(sampling, field.name) for field in fields(sampling)}
        del asked["grammar"], asked["seed"], asked["stop"]
        return asked | {"vocabulary": self.tokenizer.size}


class HuggingFaceText(LocalBackend):
    """A causal language model.

    Args:
        settings: The model.
        options: Its options.
        path: A directory or a GGUF file.
        prepared: The process to open it in.
    """

    features = FEATURES | {"logit_bias"}

    def __init__(self, settings: ModelSettings, options: HuggingFaceOptions, path: Path, prepared: Prepared) -> None:
        super().__init__(settings)
        self._options = options
        self._path = path
        self._prepared = prepared

    async def open_engine(self) -> HuggingFaceEngine:
        """Let the process open the model, and read the model's files."""
        told = order(self._path, self._options, "text")
        first = await WorkerProcess.start(told, self._prepared.take(), LIBRARY)
        try:
            files = await asyncio.to_thread(self._files, first.ready.get("tokenizer"))
        except BaseException:
            await first.stop(patience=0)
            raise
        vocabulary = {"vocabulary": described(files.tokenizer)}
        first.send(vocabulary)

        async def launch() -> WorkerProcess:
            process = await WorkerProcess.start(told, self._prepared.take(), LIBRARY)
            process.send(vocabulary)
            return process

        if not files.end_ids:
            self.features -= {"response_format", "tools"}  # an answer that holds to a grammar must be able to end
        engine = HuggingFaceEngine(files, launch)
        engine.precision = Precision(**first.ready["precision"])
        await engine.start(_done(first))
        return engine

    def processes(self) -> tuple[int, ...]:
        """The engine's process."""
        return self._engine.pids if isinstance(self._engine, HuggingFaceEngine) else ()

    def _files(self, tokenizer: str | None) -> ModelFiles:
        options, path = self._options, self._path
        custom = tokenizer_from_json(Path(options.tokenizer).expanduser()) if options.tokenizer else None
        if not path.is_dir():
            return read_gguf(path, custom, options.context_length)
        if custom is None and tokenizer is not None:
            custom = tokenizer_from_text(tokenizer, str(path))
        if custom is None:
            raise BackendLoadError(f"{path} has no tokenizer that could be read; give one by the option 'tokenizer'")
        return read_directory(path, custom, options.context_length)


async def _done(process: WorkerProcess) -> WorkerProcess:
    return process
