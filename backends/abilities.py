"""What a backend can do for a request: one Protocol of one method for each ability.

The contract names the method that an operation needs in `x-specserve-ability`. A backend has an ability if it has the
method. It need not inherit the Protocol; if it does, the type checker compares the signatures. A new kind of backend
brings its own Protocol here, and its handler asks for it with ``model.backend.ability(...)``; nothing else changes.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncGenerator, Mapping
from functools import cache
from typing import Protocol, runtime_checkable

from specserve.backends.base import Accepted, Backend, Call, EncodedAnswer, EncodedEvents
from specserve.generated.models import (
    CreateChatCompletionRequest,
    CreateChatCompletionStreamResponse,
    CreateCompletionRequest,
    CreateCompletionResponse,
    CreateEmbeddingRequest,
    CreateEmbeddingResponse,
)
from specserve.spec.document import load, operations
from specserve.spec.errors import BackendLoadError


@runtime_checkable
class Chats(Protocol):
    """Answers conversations."""

    @abstractmethod
    def chat(
        self, request: CreateChatCompletionRequest, call: Call
    ) -> AsyncGenerator[CreateChatCompletionStreamResponse | Accepted | EncodedEvents | EncodedAnswer, None]:
        """Answer a chat request as a stream of chunks, whether or not the client asked for a stream.

        Obligations, for `chat` and `complete` alike:

        * An error that the client caused, such as an overlong prompt, is raised before the first chunk. For a stream
          `ACCEPTED` may follow these checks, so that the client hears something while the engine reads the prompt.
        * The first chunk of each choice carries ``delta.role``; the last carries `finish_reason`, once; a stop string
          is never part of the text; text deltas are whole characters.
        * After the last choice ends, exactly one chunk with ``choices: []`` carries `usage`, always. The handler
          withholds it from a stream whose client did not ask for it.
        * Closing the generator (`aclose`) at any point, the first `anext` included, stops the generation within one
          engine step and frees its KV cache.
        * Chunks are made with `construct.construct`, with all fields set that the spec requires: they go out with
          ``exclude_unset``. A backend can give `EncodedEvents`, or an `EncodedAnswer`, instead.
        """


@runtime_checkable
class Completes(Protocol):
    """Continues texts."""

    @abstractmethod
    def complete(
        self, request: CreateCompletionRequest, call: Call
    ) -> AsyncGenerator[CreateCompletionResponse | Accepted | EncodedEvents | EncodedAnswer, None]:
        """Answer a completion request as a stream of chunks; see `chat`. Choice ``i * n + j`` is prompt i, answer j."""


@runtime_checkable
class Embeds(Protocol):
    """Makes vectors of texts."""

    @abstractmethod
    async def embed(self, request: CreateEmbeddingRequest) -> CreateEmbeddingResponse | EncodedAnswer:
        """Embed every input, in order, with vectors as lists of floats or base64 as `encoding_format` says."""


@cache
def abilities() -> Mapping[str, str]:
    """OperationId -> the method that a backend needs for it, for the operations that models do."""
    return {o.operation_id: o.ability for o in operations(load()) if o.ability is not None}


def operations_of(backend: Backend) -> list[str]:
    """The operations that a backend has the abilities for, in the order of the contract."""
    return [operation for operation, ability in abilities().items() if callable(getattr(backend, ability, None))]


def check_declared(backend: Backend) -> None:
    """Check that a started backend has an ability for each operation that it declares.

    Raises:
        BackendLoadError: It declares more than it can do. That is a mistake of the backend, found here and not by the
            first request.
    """
    for operation in backend.capabilities.operations:
        ability = abilities().get(operation)
        if ability is None:
            raise BackendLoadError(f"its backend declares {operation!r}, which is not an operation of models")
        if not callable(getattr(backend, ability, None)):
            raise BackendLoadError(f"its backend declares {operation!r} and has no method {ability!r}")
