"""The backend: one model, served by other servers."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import orjson
import structlog

from specserve.backends.abilities import Chats, Completes, Embeds, operations_of
from specserve.backends.base import Activity, Backend, Call, Capabilities, EncodedAnswer
from specserve.backends.http.connections import Connections
from specserve.backends.http.redaction import Redactor
from specserve.backends.options import parse_options
from specserve.backends.patterns import STAR, check_pattern, is_pattern, matched, one_of
from specserve.backends.upstream import answer
from specserve.backends.upstream.capabilities import check_names, declared
from specserve.backends.upstream.exchange import Exchange, RecentIds, expected_choices, inputs
from specserve.backends.upstream.listing import common_names, read_list, recent_lists
from specserve.backends.upstream.options import UpstreamOptions, checked_url
from specserve.backends.upstream.pool import Pool
from specserve.backends.upstream.relay import Relay, Request
from specserve.backends.upstream.repairs import RepairLog
from specserve.backends.upstream.stream import ChatStream, TextStream
from specserve.spec.errors import BackendLoadError, InvalidRequest, Unavailable, UnsupportedParameter

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Hashable, Mapping, Sequence

    from pydantic import BaseModel

    from specserve.backends.base import ModelSettings
    from specserve.backends.upstream.listing import Entries
    from specserve.backends.upstream.pool import Endpoint
    from specserve.backends.upstream.relay import Item
    from specserve.backends.upstream.stream import Stream
    from specserve.generated.models import (
        CreateChatCompletionRequest,
        CreateCompletionRequest,
        CreateEmbeddingRequest,
    )


class Upstream(Backend, Chats, Completes, Embeds):
    """One model that other servers run."""

    def __init__(self, settings: ModelSettings) -> None:
        """Validate the options.

        Raises:
            BackendLoadError: One is wrong, there is no address, or a variable of the environment is not set.
        """
        super().__init__(settings)
        self._options = parse_options(UpstreamOptions, settings.options)
        check_names(self._options)
        secrets = {name: secret.get_secret_value() for name, secret in self._options.secrets().items()}
        self._headers = {**self._options.headers, **secrets}
        self._redactor = Redactor(tuple(secrets.values()))
        try:
            urls = [checked_url(settings.source)] if settings.source else []
        except ValueError as error:
            raise BackendLoadError(f"the source: {error}") from None
        urls += [url for url in self._options.base_urls if url not in urls]
        if not urls:
            raise BackendLoadError("an upstream model needs an address: its source, or the option 'base_urls'")
        self._urls = urls
        self._model = self._options.model or (STAR if is_pattern(settings) else settings.id)
        check_pattern(settings, self._model, key=("options", "model"))
        self._renamed = {theirs: ours for ours, theirs in self._options.rename.items()}
        self._repairs = RepairLog(settings.id)
        self._ids = RecentIds()
        self._connections: Connections | None = None
        self._pool: Pool | None = None
        self._relay: Relay | None = None
        self._capabilities: Capabilities | None = None
        self._log = structlog.get_logger("specserve.upstream")

    @property
    def capabilities(self) -> Capabilities:
        """What the operator and the upstream say.

        Raises:
            Unavailable: Before `start`.
        """
        if self._capabilities is None:
            raise Unavailable("This model is not loaded.")
        return self._capabilities

    async def start(self) -> None:
        """Ask each address for its models. One that does not answer may come up later, so it stops nothing."""
        self._connections = self._connect()
        self._pool = pool = Pool(self.settings.id, self._urls, self._options.probe_interval)
        lists = await asyncio.gather(*(self._list(pool, endpoint) for endpoint in pool.endpoints))
        models = next((entries for entries in lists if self._model in entries), None)
        if models is None and any(lists):
            self._find_name(list(dict.fromkeys(name for entries in lists for name in entries)))
            models = next((entries for entries in lists if self._model in entries), {})
        self._capabilities = declared(self._options, operations_of(self), (models or {}).get(self._model, {}))
        self._pool.start(self._connections)
        self._relay = Relay(self.settings.id, self._connections, self._pool, self._options)

    def _connect(self) -> Connections:
        return Connections(headers=self._headers, connect_timeout=self._options.connect_timeout)

    async def _list(self, pool: Pool, endpoint: Endpoint) -> Entries:
        """The models of one address, read a moment ago or now; none if it does not answer."""
        assert self._connections is not None  # noqa: S101  `start` has made them
        found = recent_lists.get((endpoint.url, self._account))
        if found is not None:
            return found
        lists: list[Entries] = []
        await pool.probe(self._connections, endpoint, lambda body: lists.append(read_list(body)))
        return lists[0] if lists else {}

    @property
    def _account(self) -> Hashable:
        return frozenset(self._headers.items())

    async def expand(self) -> Sequence[ModelSettings]:
        """The models whose names at the upstream the option `model` stands for."""
        self._connections = self._connect()
        names = await common_names(self._connections, self._urls, self._account)
        found = [(name, matched(self._model, name)) for name in names]
        models = [
            one_of(self.settings, star, options={**self.settings.options, "model": name})
            for name, star in found
            if star is not None
        ]
        if not models:
            raise BackendLoadError(f"the upstream lists no model {self._model!r}")
        return models

    def _find_name(self, names: list[str]) -> None:
        """Find the name of the model there, which is not our id: if it has one model and none was named, that one."""
        known = {"model": self.settings.id, "name": self._model}
        if len(names) == 1 and self._options.model is None:
            self._model = names[0]
            self._log.info("upstream has one model, by another name", **known, found=self._model)
        else:
            self._log.warning("upstream does not list the model", **known)

    async def stop(self) -> None:
        """Close every connection, which ends what runs."""
        pool, self._pool = self._pool, None
        connections, self._connections = self._connections, None
        self._relay = None
        if pool is not None:
            await pool.stop()
        if connections is not None:
            await connections.close()

    def activity(self) -> Activity:
        """The requests that upstreams work on for us."""
        return Activity(running=self._pool.running if self._pool is not None else 0)

    def chat(self, request: CreateChatCompletionRequest, call: Call) -> AsyncGenerator[Item, None]:
        """Relay a chat request; see `Chats.chat`. The extension `prompt` becomes a message."""
        body = _body(request, call)
        choices = expected_choices(body.get("n"))
        _check_tool_choice(body)
        sent_as = {}
        if "prompt" in body:
            body["messages"] = [{"role": "user", "content": body.pop("prompt")}]
            sent_as["messages"] = "prompt"
        return self._send("chat/completions", body, call, choices, answer.chat, ChatStream, sent_as)

    def complete(self, request: CreateCompletionRequest, call: Call) -> AsyncGenerator[Item, None]:
        """Relay a completion request; see `Completes.complete`."""
        body = _body(request, call)
        choices = expected_choices(body.get("n"), inputs(body.get("prompt")))
        return self._send("completions", body, call, choices, answer.completion, TextStream)

    async def embed(self, request: CreateEmbeddingRequest) -> EncodedAnswer:
        """Relay an embedding request; see `Embeds.embed`."""
        body = request.model_dump(mode="json", exclude_unset=True)
        read = partial(answer.embedding, encoding_format=body.get("encoding_format") or "float")
        call = Call(id="", created=0)
        async with aclosing(self._send("embeddings", body, call, inputs(body["input"]), read)) as items:
            only = await anext(items)
        if not isinstance(only, EncodedAnswer):
            raise TypeError("events in place of vectors")
        return only

    def _send(
        self,
        path: str,
        body: dict[str, Any],
        call: Call,
        choices: int,
        read: Callable[[bytes, Exchange], EncodedAnswer],
        stream: Callable[[Exchange], Stream] | None = None,
        sent_as: Mapping[str, str] = MappingProxyType({}),
    ) -> AsyncGenerator[Item, None]:
        if self._relay is None:
            raise Unavailable("This model is not loaded.")
        streamed = bool(body.get("stream"))
        stream_options = (body.get("stream_options") or {}) if streamed else {}
        exchange = Exchange(
            call=call,
            model=body["model"],
            choices=choices,
            include_usage=bool(stream_options.get("include_usage")),
            repairs=self._repairs,
            ids=self._ids,
            redactor=self._redactor,
            sent_as={**sent_as, **self._renamed},
            continuous_usage=bool(stream_options.get("include_usage") and stream_options.get("continuous_usage_stats")),
            named_tool=isinstance(body.get("tool_choice"), dict) and body["tool_choice"].get("type") == "function",
        )
        body["model"] = self._model
        if streamed:
            self._ask_for_usage(body, asked=exchange.include_usage)
        for ours, theirs in self._options.rename.items():
            if ours in body:
                body[theirs] = body.pop(ours)
        return self._relay.send(Request(path, orjson.dumps(body), exchange, read, stream if streamed else None))

    def _ask_for_usage(self, body: dict[str, Any], *, asked: bool) -> None:
        """Our log counts the tokens of every stream, so the upstream is always asked."""
        if self._options.stream_usage:
            body["stream_options"] = {**(body.get("stream_options") or {}), "include_usage": True}
        elif asked:
            raise UnsupportedParameter(
                "This model does not tell the usage of a stream.", param="stream_options.include_usage"
            )
        else:
            body.pop("stream_options", None)


def _check_tool_choice(body: Mapping[str, Any]) -> None:
    """Refuse what no schema can, and what many servers ignore: the choice of a function that is not offered."""
    chosen = body.get("tool_choice")
    if isinstance(chosen, dict) and chosen.get("type") == "function":
        offered = [tool.get("function", {}).get("name") for tool in body.get("tools") or ()]
        if chosen["function"]["name"] not in offered:
            raise InvalidRequest("'tool_choice' names a tool that is not in 'tools'.", param="tool_choice")


def _body(request: BaseModel, call: Call) -> dict[str, Any]:
    """The request as the client wrote it; a copy, to be changed at its top level."""
    body = call.body if call.body is not None else request.model_dump(mode="json", exclude_unset=True)
    return {**call.passed_through, **body}
