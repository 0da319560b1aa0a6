"""One model on transformers: finds out what kind it is when it starts, and leaves the rest to text or embeddings."""

from __future__ import annotations

import asyncio
import importlib
import threading
from typing import TYPE_CHECKING

from specserve.backends.abilities import Chats, Completes, Embeds
from specserve.backends.base import Activity, Backend, Capabilities, ModelSettings
from specserve.backends.huggingface import source
from specserve.backends.huggingface.embeddings import HuggingFaceEmbeddings
from specserve.backends.huggingface.options import HuggingFaceOptions
from specserve.backends.huggingface.order import WORKER
from specserve.backends.huggingface.text import HuggingFaceText
from specserve.backends.local.process.worker_process import Prepared
from specserve.backends.options import parse_options
from specserve.spec.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from specserve.backends.base import Accepted, Call, EncodedAnswer, EncodedEvents
    from specserve.generated.models import (
        CreateChatCompletionRequest,
        CreateChatCompletionStreamResponse,
        CreateCompletionRequest,
        CreateCompletionResponse,
        CreateEmbeddingRequest,
        CreateEmbeddingResponse,
    )


class HuggingFace(Backend, Chats, Completes, Embeds):
    """A model from a directory, a GGUF file, or the Hugging Face hub."""

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__(settings)
        self._options = parse_options(HuggingFaceOptions, settings.options)
        source.check(settings.source)
        self._prepared = Prepared(WORKER, settings.workers)
        self._inner: HuggingFaceText | HuggingFaceEmbeddings | None = None

    @property
    def capabilities(self) -> Capabilities:
        """What the model can do."""
        return self._model.capabilities

    def prepare(self) -> None:
        """Start the engine process, which takes seconds to import its libraries."""
        self._prepared.start()

    async def start(self) -> None:
        """Fetch the model if need be, see what it is, and open it."""
        for library in ("huggingface_hub", "tokenizers"):  # the process will tell of torch and transformers
            await asyncio.to_thread(importlib.import_module, library)
        given_up = threading.Event()
        code = self._options.trust_remote_code
        try:
            path = await asyncio.to_thread(source.resolve, self.settings.source, code=code, abandon=given_up)
        except asyncio.CancelledError:
            given_up.set()
            raise
        kind = HuggingFaceEmbeddings if source.makes_embeddings(path) else HuggingFaceText
        self._inner = kind(self.settings, self._options, path, self._prepared)
        self._inner.on_outage = self.on_outage
        await self._inner.start()

    async def stop(self) -> None:
        """Stop the engine, also one that was prepared and never opened."""
        self._prepared.end()
        if self._inner is not None:
            await self._inner.stop()

    def activity(self) -> Activity:
        """What the engine says; nothing before it is open."""
        return Activity() if self._inner is None else self._inner.activity()

    def outage(self) -> str | None:
        """What the engine says of itself."""
        return None if self._inner is None else self._inner.outage()

    def processes(self) -> Sequence[int]:
        """The engine's process."""
        return () if self._inner is None else self._inner.processes()

    def chat(
        self, request: CreateChatCompletionRequest, call: Call
    ) -> AsyncGenerator[CreateChatCompletionStreamResponse | Accepted | EncodedEvents | EncodedAnswer, None]:
        """See `Chats.chat`."""
        return self._model.ability(Chats).chat(request, call)

    def complete(
        self, request: CreateCompletionRequest, call: Call
    ) -> AsyncGenerator[CreateCompletionResponse | Accepted | EncodedEvents | EncodedAnswer, None]:
        """See `Completes.complete`."""
        return self._model.ability(Completes).complete(request, call)

    async def embed(self, request: CreateEmbeddingRequest) -> CreateEmbeddingResponse | EncodedAnswer:
        """See `Embeds.embed`."""
        return await self._model.ability(Embeds).embed(request)

    @property
    def _model(self) -> HuggingFaceText | HuggingFaceEmbeddings:
        if self._inner is None:
            raise Unavailable("This model is not loaded.")
        return self._inner
