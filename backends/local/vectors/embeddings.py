"""Embeddings by a local model: everything but the model.

Inputs of all requests are batched by length (`batching.py`); batches run one at a time.

Token ids are taken as given: a client that wants the vector of a text sends what the tokenizer makes of it, with the
``[CLS]`` and ``[SEP]`` that it adds. An input longer than the model was made for is refused, never cut.
"""

from __future__ import annotations

import asyncio
import functools
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from specserve.backends.abilities import Embeds
from specserve.backends.base import Activity, Backend, Capabilities, ModelSettings, Precision
from specserve.backends.construct import construct
from specserve.backends.local.vectors.batching import Batcher, Format, Row, Vector
from specserve.generated.models import CreateEmbeddingRequest, CreateEmbeddingResponse, Embedding, EmbeddingUsage
from specserve.spec.errors import ContextLengthExceeded, InvalidRequest, Unavailable, UnsupportedParameter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_P = ParamSpec("_P")
_T = TypeVar("_T")

_INPUTS_AT_ONCE = 64  # tokenized in one go, between looks at whether the request is still wanted


class Encoder(ABC):
    """A loaded embedding model.

    Attributes:
        context_length: Most tokens of one input.
        dimensions: Length of the vectors.
        vocabulary: Token ids are below this.
        precision: With which numbers it computes, if it tells.
    """

    context_length: int
    dimensions: int
    vocabulary: int
    precision: Precision | None = None

    @abstractmethod
    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of texts, with the special tokens that the model was trained with. Blocks."""

    @abstractmethod
    async def embed(self, rows: list[tuple[Row, Format]]) -> list[Vector]:
        """The vectors of one batch, ready for the answers.

        Raises:
            EngineFailure: The engine broke.
        """

    @abstractmethod
    async def stop(self) -> None:
        """Let the batch that runs end, and unload."""


class LocalEmbeddings(Backend, Embeds):
    """A backend whose embedding model runs behind `Encoder`. A subclass says how to open it.

    Args:
        settings: The model.
        batch_tokens: Most tokens, padding counted, in one batch.
    """

    def __init__(self, settings: ModelSettings, batch_tokens: int) -> None:
        super().__init__(settings)
        self._encoder: Encoder | None = None
        self._threads: ThreadPoolExecutor | None = None
        self._batcher = Batcher(self._embed_batch, batch_tokens)
        self._running = 0

    @abstractmethod
    async def open_encoder(self) -> Encoder:
        """Load the model, off the event loop.

        Raises:
            BackendLoadError: Why it cannot be loaded.
        """

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
            embedding_dimensions=encoder.dimensions,
            precision=encoder.precision,
        )

    async def start(self) -> None:
        """Open the model."""
        self._threads = ThreadPoolExecutor(1, thread_name_prefix=f"tokenize-{self.settings.id}")
        self._encoder = await self.open_encoder()
        longest = self._encoder.context_length
        self._encoder.context_length = min(longest, self.settings.limits.context_length or longest)

    async def stop(self) -> None:
        """Let the batch that runs end, and unload. Requests still in work end as unavailable."""
        threads, self._threads = self._threads, None
        encoder, self._encoder = self._encoder, None
        await self._batcher.stop()
        if encoder is not None:
            await encoder.stop()
        if threads is not None:
            await asyncio.to_thread(threads.shutdown)

    def activity(self) -> Activity:
        """Requests in work."""
        return Activity(running=self._running)

    async def embed(self, request: CreateEmbeddingRequest) -> CreateEmbeddingResponse:
        """Embed every input, in order."""
        size = self._loaded().dimensions
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

    def _loaded(self) -> Encoder:
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
        return await self._loaded().embed(rows)

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
                _check_ids(found, names[some], encoder.vocabulary)
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
