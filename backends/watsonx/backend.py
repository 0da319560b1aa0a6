"""One model on watsonx.ai."""

from __future__ import annotations

import datetime as dt
import os
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import structlog

from specserve.backends.abilities import Chats, Completes, Embeds
from specserve.backends.base import Activity, Backend, Capabilities
from specserve.backends.http.merged import merged
from specserve.backends.options import parse_options
from specserve.backends.patterns import check_pattern, matched, one_of
from specserve.backends.watsonx import chat, completions, embeddings, specs
from specserve.backends.watsonx.chat_answer import ChatAnswer
from specserve.backends.watsonx.listing import read_list, recent_list
from specserve.backends.watsonx.options import WatsonxOptions
from specserve.backends.watsonx.service_access import find_access
from specserve.backends.watsonx.usage import make_usage
from specserve.spec.errors import APIError, BackendLoadError, Unavailable, UpstreamBreach

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence

    from pydantic import BaseModel

    from specserve.backends.base import Call, ModelSettings
    from specserve.backends.watsonx.account import Account
    from specserve.backends.watsonx.client import Client
    from specserve.backends.watsonx.completions import GenerationAnswer
    from specserve.backends.watsonx.specs import ModelSpec
    from specserve.generated.models import (
        CreateChatCompletionRequest,
        CreateChatCompletionStreamResponse,
        CreateCompletionRequest,
        CreateCompletionResponse,
        CreateEmbeddingRequest,
        CreateEmbeddingResponse,
    )

T = TypeVar("T")
_AT_ONCE = 8
"""Prompts of one completion request that are generated at the same time."""


class Watsonx(Backend, Chats, Completes, Embeds):
    """A model of IBM's list of foundation models."""

    def __init__(self, settings: ModelSettings) -> None:
        """Validate the options and find what they leave to the environment.

        Raises:
            BackendLoadError: An option is unknown or wrong, or a setting is missing.
        """
        super().__init__(settings)
        if not settings.source:
            raise BackendLoadError("name the model as IBM does, such as 'watsonx:ibm/granite-3-3-8b-instruct'")
        check_pattern(settings, settings.source, key=("source",))
        self._options = parse_options(WatsonxOptions, settings.options)
        self._access = find_access(self._options, os.environ)
        self._account: Account | None = None
        self._client: Client | None = None
        self._spec: ModelSpec | None = None
        self._running = 0

    async def start(self) -> None:
        """Find the model in IBM's list and fetch a token."""
        account, client = self._connect()
        try:
            resources = await recent_list(client, self._access)
            self._spec = specs.find_spec(self.settings.source, resources, _today())
            await account.tokens.get()
        except APIError as error:
            raise BackendLoadError(error.message) from None
        if self._spec.withdrawn_on is not None:
            structlog.get_logger("specserve.watsonx").warning(
                "the service will withdraw this model", model=self.settings.id, on=str(self._spec.withdrawn_on)
            )

    async def expand(self) -> Sequence[ModelSettings]:
        """The models of IBM's list that the source stands for, except those that could not be started."""
        _, client = self._connect()
        try:
            usable = specs.usable_specs(await read_list(client, self._access), _today())
        except APIError as error:
            raise BackendLoadError(error.message) from None
        found = [(spec, matched(self.settings.source, spec.id)) for spec in usable]
        models = [self._one_of(spec, star) for spec, star in found if star is not None]
        if not models:
            raise BackendLoadError(
                f"the service offers no model {self.settings.source!r} that generates text or embeds", key=("source",)
            )
        return models

    def _one_of(self, spec: ModelSpec, star: str) -> ModelSettings:
        settings = one_of(self.settings, star, source=spec.id)
        if spec.abilities & specs.TEXT:
            return settings
        # What the entry says of texts that are generated is not for a model that only embeds.
        return replace(settings, defaults={}, limits=replace(settings.limits, max_output_tokens=None))

    def _connect(self) -> tuple[Account, Client]:
        from specserve.backends.watsonx.account import Account
        from specserve.backends.watsonx.client import Client

        self._account = Account.join(self._access)
        self._client = Client(self._access, self._options, self._account.tokens)
        return self._account, self._client

    async def stop(self) -> None:
        """Close the connections."""
        client, self._client = self._client, None
        account, self._account = self._account, None
        if client is not None:
            await client.close()
        if account is not None:
            await account.leave()

    def activity(self) -> Activity:
        """Requests that IBM is working on."""
        return Activity(running=self._running)

    @property
    def capabilities(self) -> Capabilities:
        """What IBM's list says of the model.

        Raises:
            Unavailable: Before `start`.
        """
        spec = self._spec
        if spec is None:
            raise Unavailable("This model is not loaded.")
        operations = {}
        if specs.CHAT in spec.abilities:
            extra = {
                "messages.content.image_url": specs.IMAGES,
                "messages.content.input_audio": specs.AUDIO,
                **dict.fromkeys(chat.TOOL_PARAMETERS, specs.TOOLS),
            }
            able = {name for name, ability in extra.items() if ability in spec.abilities}
            operations["createChatCompletion"] = chat.PARAMETERS | able
        if specs.GENERATION in spec.abilities:
            operations["createCompletion"] = completions.PARAMETERS
        if specs.EMBEDDING in spec.abilities:
            operations["createEmbedding"] = embeddings.PARAMETERS
        return Capabilities(operations, spec.context_length, spec.max_output_tokens, spec.embedding_dimensions)

    async def chat(
        self, request: CreateChatCompletionRequest, call: Call
    ) -> AsyncGenerator[CreateChatCompletionStreamResponse, None]:
        """Answer a chat request; see `Chats.chat`. IBM streams if the client wants a stream."""
        asked = _asked(request)
        answer = ChatAnswer(call, self.settings.id, asked)
        text = "prompt" if asked.get("messages") is None else "messages"
        async with aclosing(self._events("chat", chat.chat_body(asked, call.ignore), asked, text)) as events:
            async for event in events:
                for chunk in understood(answer.read(event)):
                    yield chunk
        for chunk in answer.end():
            yield chunk

    async def complete(
        self, request: CreateCompletionRequest, call: Call
    ) -> AsyncGenerator[CreateCompletionResponse, None]:
        """Continue one or several prompts; see `Completes.complete`. Each is a request of its own at IBM."""
        asked = _asked(request)
        most = self._spec.max_output_tokens if self._spec else None
        bodies = [completions.generation_body(asked, prompt, most) for prompt in completions.prompts(asked)]
        answers = [
            completions.GenerationAnswer(call, self.settings.id, index, body["input"], asked)
            for index, body in enumerate(bodies)
        ]
        continuations = [self._continued(answer, body, asked) for answer, body in zip(answers, bodies, strict=True)]
        async with aclosing(merged(continuations, at_once=_AT_ONCE)) as chunks:
            async for chunk in chunks:
                yield chunk
        tokens = [(answer.prompt_tokens, answer.completion_tokens) for answer in answers]
        usage = make_usage(sum(prompt for prompt, _ in tokens), sum(completion for _, completion in tokens))
        yield answers[0].usage_chunk(usage)

    async def _continued(
        self, answer: GenerationAnswer, body: Mapping[str, Any], asked: Mapping[str, Any]
    ) -> AsyncGenerator[CreateCompletionResponse, None]:
        async with aclosing(self._events("generation", body, asked, "prompt")) as events:
            async for event in events:
                for chunk in understood(answer.read(event)):
                    yield chunk
        answer.check_ended()

    async def embed(self, request: CreateEmbeddingRequest) -> CreateEmbeddingResponse:
        """Embed every input; see `Embeds.embed`."""
        asked = _asked(request)
        vectors, tokens = list[list[float]](), 0
        async with self._at_work() as client:
            for texts in embeddings.batches(asked):
                body = self._addressed({"inputs": texts})
                answer = await client.post("embeddings", body, asked=asked, text="input")
                found, counted = embeddings.read_vectors(answer, len(texts))
                vectors += found
                tokens += counted
        return embeddings.embedding_response(self.settings.id, vectors, tokens, asked.get("encoding_format") or "float")

    async def _events(
        self, path: str, body: Mapping[str, Any], asked: Mapping[str, Any], text: str
    ) -> AsyncGenerator[dict[str, Any], None]:
        """The events of an answer; one, the whole answer, if the client wants no stream."""
        body = self._addressed(body)
        async with self._at_work() as client:
            if not asked.get("stream"):
                yield await client.post(path, body, asked=asked, text=text)
                return
            async with aclosing(client.stream(f"{path}_stream", body, asked=asked, text=text)) as events:
                async for event in events:
                    yield event

    def _addressed(self, body: Mapping[str, Any]) -> dict[str, Any]:
        return {"model_id": self.settings.source, **self._access.container, **body}

    @asynccontextmanager
    async def _at_work(self) -> AsyncIterator[Client]:
        if self._client is None:
            raise Unavailable("This model is not loaded.")
        self._running += 1
        try:
            yield self._client
        finally:
            self._running -= 1


def understood(chunks: Iterator[T]) -> Iterator[T]:
    """Read what the service sent; whatever of it has another type than it must is not understood.

    Raises:
        UpstreamBreach: Something has.
    """
    try:
        yield from chunks
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
        raise UpstreamBreach("The service behind this model sent what is not understood.") from None


def _today() -> dt.date:
    return dt.datetime.now(dt.UTC).date()


def _asked(request: BaseModel) -> dict[str, Any]:
    """The parameters that the client sent, as JSON."""
    return request.model_dump(mode="json", exclude_unset=True, by_alias=True)
