"""Embeddings on OpenVINO: a BERT encoder with its tokenizer, from a directory as sentence-transformers writes them.

Inputs are batched by length, batches run one at a time in a thread of their own, and requests take turns batch by
batch: a single sentence does not wait for another request's two thousand.

Token ids are taken as given: a client that wants the vector of a text sends what the tokenizer makes of it, with the
``[CLS]`` and ``[SEP]`` that it adds. An input longer than the model was made for is refused, never cut.
"""

from __future__ import annotations

import asyncio
import base64
import functools
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar

from specserve.backends import weights
from specserve.backends.base import Backend, Capabilities, Load, ModelSettings
from specserve.backends.errors import (
    BackendLoadError,
    ContextLengthExceeded,
    EngineFailure,
    InvalidRequest,
    Unavailable,
    UnsupportedParameter,
)
from specserve.backends.openvino import bert
from specserve.generated.models import CreateEmbeddingRequest, CreateEmbeddingResponse, Embedding, EmbeddingUsage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

Vector = list[float] | str
Format = Literal["float", "base64"]
_P = ParamSpec("_P")
_T = TypeVar("_T")

_TEXTS_AT_ONCE = 64  # tokenized in one go, between looks at whether the request is still wanted


@dataclass(frozen=True)
class EmbeddingOptions:
    """The backend's own settings of a model.

    Attributes:
        device: OpenVINO's name of the device.
        num_threads: Threads of the processor to use; 0 leaves it to OpenVINO.
        batch_tokens: Most tokens, padding counted, that run in one batch; small batches stay in the
            processor's caches. One input may be longer.
        context_length: Most tokens of one input; 0 takes what the model's authors say. More than they say, up to the
            model's position table, works but was not trained for.
    """

    device: str = "CPU"
    num_threads: int = 0
    batch_tokens: int = 512
    context_length: int = 0

    @classmethod
    def read(cls, options: Mapping[str, Any]) -> EmbeddingOptions:
        """Check the options of a model; raises `BackendLoadError` naming the one at fault."""
        known = {field.name: field.default for field in fields(cls)}
        for name, value in options.items():
            if name not in known:
                raise BackendLoadError(f"unknown option {name!r}; there are: {', '.join(known)}")
            least = 1 if name == "batch_tokens" else 0
            if isinstance(known[name], str):
                if not isinstance(value, str) or not value:
                    raise BackendLoadError(f"option {name!r} must be a text")
            elif not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise BackendLoadError(f"option {name!r} must be a whole number, at least {least}")
        return cls(**options)


def batches(lengths: Sequence[int], most_tokens: int) -> Iterator[list[int]]:
    """Group inputs of like length: yields their places, so that each group, padded to its longest, stays in bounds."""
    batch: list[int] = []
    for place in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and lengths[place] * (len(batch) + 1) > most_tokens:
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch


class _Encoder:
    """The loaded model. Every method blocks and is called from one thread at a time."""

    def __init__(self, directory: Path, options: EmbeddingOptions) -> None:
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

    def embed(self, rows: Sequence[Sequence[int]], form: Format) -> list[Vector]:
        """The vectors of one batch, ready for the answer."""
        import numpy as np

        length = max(map(len, rows))
        ids = np.zeros((len(rows), length), np.int64)
        mask = np.zeros((len(rows), length), np.int64)
        for place, row in enumerate(rows):
            ids[place, : len(row)] = row
            mask[place, : len(row)] = 1
        try:
            vectors = self._request.infer({"ids": ids, "mask": mask}, share_inputs=True)[0]
        except RuntimeError as error:
            raise EngineFailure("The engine failed on this input.") from error
        if form == "base64":
            return [base64.b64encode(vector.tobytes()).decode() for vector in vectors.astype("<f4")]
        numbers: list[Vector] = vectors.tolist()
        return numbers


class OpenVINOEmbeddings(Backend):
    """One embedding model. Its source is a ``pypi:`` name, or a directory in sentence-transformers' layout."""

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__(settings)
        self._options = EmbeddingOptions.read(settings.options)
        self._encoder: _Encoder | None = None
        self._thread: ThreadPoolExecutor | None = None
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
            return _Encoder(weights.resolve(self.settings.source, abandon=given_up), self._options)

        self._thread = ThreadPoolExecutor(1, thread_name_prefix="embeddings")
        try:
            self._encoder = await asyncio.get_running_loop().run_in_executor(self._thread, open_encoder)
        except asyncio.CancelledError:
            given_up.set()
            raise

    async def stop(self) -> None:
        """Let the batch that runs end, and unload. Requests still in work end as unavailable."""
        thread, self._thread, self._encoder = self._thread, None, None
        if thread is not None:
            await asyncio.to_thread(thread.shutdown)

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
            vectors: list[Vector] = [""] * len(rows)
            for places in batches([len(row) for row in rows], self._options.batch_tokens):
                batch = [rows[place] for place in places]
                found = await self._run(self._loaded().embed, batch, request.encoding_format)
                for place, vector in zip(places, found, strict=True):
                    vectors[place] = vector
        finally:
            self._running -= 1
        tokens = sum(map(len, rows))
        return CreateEmbeddingResponse.model_construct(
            object="list",
            model=self.settings.id,
            data=[
                Embedding.model_construct(object="embedding", index=index, embedding=vector)
                for index, vector in enumerate(vectors)
            ],
            usage=EmbeddingUsage.model_construct(prompt_tokens=tokens, total_tokens=tokens),
        )

    def _loaded(self) -> _Encoder:
        if self._encoder is None:
            raise Unavailable("The model is not loaded.")
        return self._encoder

    async def _run(self, work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Do blocking work in the backend's thread; work that was not begun when the caller went away never is."""
        if self._thread is None:
            raise Unavailable("The model is not loaded.")
        call = functools.partial(work, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)

    async def _rows(self, given: str | list[str] | list[int] | list[list[int]]) -> list[Sequence[int]]:
        """The token ids of every input, checked."""
        encoder = self._loaded()
        inputs: list[Any] = [given] if isinstance(given, str) or isinstance(given[0], int) else given
        alone = inputs is not given
        if not isinstance(inputs[0], str):
            self._check_ids(inputs, alone=alone)
        rows: list[Sequence[int]] = []
        for first in range(0, len(inputs), _TEXTS_AT_ONCE):
            some = inputs[first : first + _TEXTS_AT_ONCE]
            rows += await self._run(encoder.tokenize, some) if isinstance(some[0], str) else some
            for place in range(first, len(rows)):
                if len(rows[place]) > encoder.context_length:
                    raise ContextLengthExceeded(
                        f"An input has {len(rows[place])} tokens; this model takes {encoder.context_length} at most.",
                        param="input" if alone else f"input[{place}]",
                    )
        return rows

    def _check_ids(self, inputs: Sequence[Sequence[int]], *, alone: bool) -> None:
        vocabulary = self._loaded().shape.vocabulary
        for place, row in enumerate(inputs):
            for index, token in enumerate(row):
                if not 0 <= token < vocabulary:
                    raise InvalidRequest(
                        f"A token id is outside this model's vocabulary of {vocabulary}.",
                        param=f"input[{index}]" if alone else f"input[{place}][{index}]",
                    )
