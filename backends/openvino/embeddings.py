"""Embeddings on OpenVINO: a BERT encoder with its tokenizer, from a directory as sentence-transformers writes them.

Inputs of all requests are batched by length (`batching.py`); batches run one at a time, in a thread.

Token ids are taken as given: a client that wants the vector of a text sends what the tokenizer makes of it, with the
``[CLS]`` and ``[SEP]`` that it adds. An input longer than the model was made for is refused, never cut.
"""

from __future__ import annotations

import asyncio
import base64
import functools
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from pydantic import Field

from specserve.backends import weights
from specserve.backends.base import Backend, Capabilities, Load, ModelSettings
from specserve.backends.construct import construct
from specserve.backends.errors import (
    BackendLoadError,
    ContextLengthExceeded,
    EngineFailure,
    InvalidRequest,
    Unavailable,
    UnsupportedParameter,
)
from specserve.backends.openvino import bert, telemetry
from specserve.backends.openvino.batching import Batcher, Format, Row, Vector
from specserve.backends.options import Options, parse_options
from specserve.generated.models import CreateEmbeddingRequest, CreateEmbeddingResponse, Embedding, EmbeddingUsage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_P = ParamSpec("_P")
_T = TypeVar("_T")

_INPUTS_AT_ONCE = 64  # tokenized in one go, between looks at whether the request is still wanted


class EmbeddingOptions(Options):
    """What an embedding model on OpenVINO can be told."""

    device: str = Field(default="CPU", min_length=1, description="OpenVINO device, such as CPU or GPU.")
    num_threads: int = Field(default=0, ge=0, description="CPU threads; 0 leaves it to OpenVINO.")
    batch_tokens: int = Field(
        default=512,
        ge=1,
        description="Most tokens, padding counted, in one batch: small ones stay in caches. One input may be longer.",
    )
    context_length: int = Field(
        default=0, ge=0, description="Most tokens of one input; 0 takes what the model's authors trained for."
    )


class _Encoder:
    """The loaded model. Its methods block; `embed` is called from one thread at a time."""

    def __init__(self, directory: Path, options: EmbeddingOptions) -> None:
        telemetry.block()
        import openvino
        from tokenizers import Tokenizer

        self.shape = bert.BertShape.read(directory)
        if options.context_length > self.shape.positions:
            raise BackendLoadError(f"option 'context_length' is at most {self.shape.positions} for this model")
        self.context_length = options.context_length or self.shape.max_length
        try:
            self._tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
        except Exception as error:  # the library raises nothing narrower
            raise BackendLoadError(f"{directory}: tokenizer.json cannot be read: {error}") from error
        self._tokenizer.no_truncation()  # the file of MiniLM asks for cutting at, and padding to, 128
        self._tokenizer.no_padding()
        # A compiled-model cache (CACHE_DIR) would save 0.15 s of a start and cost as much disk as the weights.
        config: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
        if options.num_threads:
            config["INFERENCE_NUM_THREADS"] = options.num_threads
        model = bert.build(directory, self.shape)
        try:
            self._request = openvino.Core().compile_model(model, options.device, config).create_infer_request()
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise BackendLoadError(f"OpenVINO cannot compile the model for {options.device!r}: {reason}") from error

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(texts)]

    def embed(self, rows: Sequence[tuple[Row, Format]]) -> list[Vector]:
        """The vectors of one batch, ready for the answers."""
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


class OpenVINOEmbeddings(Backend):
    """One embedding model. Its source is a ``pypi:`` name, or a directory in sentence-transformers' layout."""

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__(settings)
        self._options = parse_options(EmbeddingOptions, settings.options)
        self._encoder: _Encoder | None = None
        self._threads: ThreadPoolExecutor | None = None
        self._batcher = Batcher(self._embed_batch, self._options.batch_tokens)
        self._running = 0

    @property
    def capabilities(self) -> Capabilities:
        """What the model can do."""
        encoder = self._loaded()
        # `dimensions` is honoured where it asks for what the model gives. Shorter vectors would need a model that
        # was trained for being cut.
        parameters = frozenset({"model", "input", "encoding_format", "dimensions"})
        return Capabilities(
            operations={"createEmbedding": parameters},
            context_length=encoder.context_length,
            embedding_dimensions=encoder.shape.hidden,
        )

    async def start(self) -> None:
        """Fetch the weights if they are embedded and absent, and load them."""
        given_up = threading.Event()

        def open_encoder() -> _Encoder:
            encoder = _Encoder(weights.resolve(self.settings.source, abandon=given_up), self._options)
            longest = encoder.context_length
            encoder.context_length = min(longest, self.settings.limits.context_length or longest)
            return encoder

        self._threads = ThreadPoolExecutor(2, thread_name_prefix="embeddings")  # a batch, and tokenizing the next
        try:
            self._encoder = await self._run(open_encoder)
        except asyncio.CancelledError:
            given_up.set()
            raise

    async def stop(self) -> None:
        """Let the batch that runs end, and unload. Requests still in work end as unavailable."""
        threads, self._threads, self._encoder = self._threads, None, None
        await self._batcher.stop()
        if threads is not None:
            await asyncio.to_thread(threads.shutdown)

    def load(self) -> Load:
        """Requests in work."""
        return Load(running=self._running)

    async def embed(self, request: CreateEmbeddingRequest) -> CreateEmbeddingResponse:
        """Embed every input, in order."""
        size = self._loaded().shape.hidden
        if request.dimensions not in {None, size}:
            raise UnsupportedParameter(
                f"This model's vectors have {size} dimensions and cannot be shortened.", param="dimensions"
            )
        self._running += 1
        try:
            rows = await self._rows(request.input)
            vectors = await self._batcher.vectors(rows, request.encoding_format)
        finally:
            self._running -= 1
        tokens = sum(map(len, rows))
        return construct(
            CreateEmbeddingResponse,
            object="list",
            model=self.settings.id,
            data=[
                construct(Embedding, object="embedding", index=index, embedding=vector)
                for index, vector in enumerate(vectors)
            ],
            usage=construct(EmbeddingUsage, prompt_tokens=tokens, total_tokens=tokens),
        )

    def _loaded(self) -> _Encoder:
        if self._encoder is None:
            raise Unavailable("The model is not loaded.")
        return self._encoder

    async def _run(self, work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Do blocking work in a thread; work that was not begun when the caller went away never is."""
        if self._threads is None:
            raise Unavailable("The model is not loaded.")
        call = functools.partial(work, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    async def _embed_batch(self, rows: list[tuple[Row, Format]]) -> list[Vector]:
        return await self._run(self._loaded().embed, rows)

    async def _rows(self, given: str | list[str] | list[int] | list[list[int]]) -> list[Row]:
        """The token ids of every input, checked."""
        encoder = self._loaded()
        inputs: list[Any] = [given] if isinstance(given, str) or isinstance(given[0], int) else given
        names = ["input"] if inputs is not given else [f"input[{place}]" for place in range(len(inputs))]
        rows: list[Row] = []
        for first in range(0, len(inputs), _INPUTS_AT_ONCE):
            some = slice(first, first + _INPUTS_AT_ONCE)
            if isinstance(inputs[0], str):
                _check_texts(inputs[some], names[some])
                found = await self._run(encoder.tokenize, inputs[some])
            else:
                found = inputs[some]
                _check_ids(found, names[some], encoder.shape.vocabulary)
            for row, name in zip(found, names[some], strict=True):
                if len(row) > encoder.context_length:
                    raise ContextLengthExceeded(
                        f"An input has {len(row)} tokens; this model takes {encoder.context_length} at most.",
                        param=name,
                    )
            rows += found
        return rows


def _check_texts(texts: Sequence[str], names: Sequence[str]) -> None:
    for text, name in zip(texts, names, strict=True):
        try:
            text.encode()
        except UnicodeEncodeError as error:  # half of a surrogate pair, which JSON can write but no text can hold
            raise InvalidRequest("A text holds half of a surrogate pair.", param=name) from error


def _check_ids(rows: Sequence[Row], names: Sequence[str], vocabulary: int) -> None:
    for row, name in zip(rows, names, strict=True):
        for place, token in enumerate(row):
            if not 0 <= token < vocabulary:
                raise InvalidRequest(
                    f"A token id is outside this model's vocabulary of {vocabulary}.", param=f"{name}[{place}]"
                )
