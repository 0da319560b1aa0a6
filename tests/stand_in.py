"""A stand-in for an upstream: a server on a socket that answers what a test tells it to, byte by byte if need be."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from specserve.backends.base import Accepted, Call, EncodedAnswer, EncodedEvents, ModelSettings
from specserve.backends.upstream.backend import Upstream
from specserve.generated.models import (
    CreateChatCompletionRequest,
    CreateCompletionRequest,
    CreateEmbeddingRequest,
)
from specserve.spec.errors import APIError

CALL = Call(id="chatcmpl-ours", created=1800000000)
HEAD = {"id": "chatcmpl-theirs", "object": "chat.completion.chunk", "created": 1700000000, "model": "their-name"}
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


@dataclass
class Sent:
    """A request that came in."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any


Answer = Callable[[Sent, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class StandIn:
    """What a stand-in has seen.

    Attributes:
        url: Its base URL.
        requests: All but those for the list of models.
        probes: How often that was asked for.
        open: Connections that are open now.
        models: What it answers to it; None makes it fail.
    """

    url: str = ""
    requests: list[Sent] = field(default_factory=list)
    probes: int = 0
    open: int = 0
    models: Any = field(default_factory=lambda: {"object": "list", "data": [{"id": "their-name"}]})
    server: Any = None
    connections: dict[asyncio.Task[None], asyncio.StreamWriter] = field(default_factory=dict)

    async def stop(self) -> None:
        """Refuse connections from now on, and cut those that are open."""
        self.server.close()
        await asyncio.sleep(0)  # those that are being accepted
        tasks = list(self.connections)
        for writer in self.connections.values():
            writer.transport.abort()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.server.wait_closed()


def reply(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """A whole answer; a string or bytes go out as they are."""

    async def send(_request: Sent, writer: asyncio.StreamWriter) -> None:
        data = value if isinstance(value, bytes) else (value if isinstance(value, str) else json.dumps(value)).encode()
        head = {"content-type": "application/json", "content-length": str(len(data)), **(headers or {})}
        lines = [f"HTTP/1.1 {status} X", *(f"{name}: {text}" for name, text in head.items()), "", ""]
        writer.write("\r\n".join(lines).encode() + data)
        await writer.drain()

    return send


STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"


def piece(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def stream(*payloads: Any, done: bool = True, end: bool = True, pause: float = 0, cut: bool = False) -> Answer:
    """A stream of events: dicts as JSON, bytes as they are.

    Args:
        payloads: What it says.
        done: Whether ``[DONE]`` follows.
        end: Whether the body ends then, or stays open.
        pause: Seconds between events.
        cut: Whether the connection is closed in the middle of the body.
    """

    async def send(_request: Sent, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM_HEAD)
        for payload in payloads:
            data = payload if isinstance(payload, bytes) else b"data: " + json.dumps(payload).encode() + b"\n\n"
            writer.write(piece(data))
            await writer.drain()
            await asyncio.sleep(pause)
        if done:
            writer.write(piece(b"data: [DONE]\n\n"))
        if cut:
            writer.close()
        elif end:
            writer.write(b"0\r\n\r\n")
        await writer.drain()
        while not (end or cut):
            await asyncio.sleep(3600)

    return send


def either(whole: Answer, streamed: Answer) -> Answer:
    """As the request asks."""

    async def send(request: Sent, writer: asyncio.StreamWriter) -> None:
        await (streamed if request.body.get("stream") else whole)(request, writer)

    return send


async def hang(_request: Sent, _writer: asyncio.StreamWriter) -> None:
    """Never answer."""
    await asyncio.sleep(3600)


async def reset(_request: Sent, writer: asyncio.StreamWriter) -> None:
    """Close the connection in place of an answer."""
    writer.transport.abort()


@asynccontextmanager
async def standing_in(*answers: Answer):
    """A server that gives these answers in turn, the last one again and again."""
    seen = StandIn()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.open += 1
        seen.connections[asyncio.current_task()] = writer
        try:
            early = b""
            while early is not None and (request := await _read(early, reader)):
                if request.path.endswith("/models"):
                    seen.probes += 1
                    answer = reply(seen.models) if seen.models is not None else reply({}, 500)
                else:
                    seen.requests.append(request)
                    answer = answers[min(len(seen.requests), len(answers)) - 1]
                early = await _unless_gone(answer(request, writer), reader)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            seen.open -= 1
            del seen.connections[asyncio.current_task()]
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    seen.server = await asyncio.start_server(connected, "127.0.0.1", 0, limit=2**24)
    seen.url = f"http://127.0.0.1:{seen.server.sockets[0].getsockname()[1]}/v1"
    try:
        yield seen
    finally:
        await seen.stop()


async def _unless_gone(answer: Awaitable[None], reader: asyncio.StreamReader) -> bytes | None:
    """Answer, but only as long as the client is there; gives what it has sent meanwhile, None if it is gone."""
    work, watch = asyncio.ensure_future(answer), asyncio.ensure_future(reader.read(1))
    try:
        await asyncio.wait({work, watch}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            return None
        work.result()
        return watch.result() or None if watch.done() else b""
    finally:
        for task in (work, watch):
            task.cancel()
        await asyncio.gather(work, watch, return_exceptions=True)


async def _read(early: bytes, reader: asyncio.StreamReader) -> Sent | None:
    try:
        head = (early + await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    except asyncio.IncompleteReadError:
        return None
    method, path, _ = head[0].split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Sent(method, path, headers, json.loads(body) if body else None)


@dataclass
class Outcome:
    """What a backend made of it.

    Attributes:
        data: All bytes that went out.
        error: What it ended in.
        repairs: The kinds of repairs that were noted.
    """

    data: bytes = b""
    error: APIError | None = None
    repairs: set[str] = field(default_factory=set)
    usage: Mapping[str, Any] | None = None

    @property
    def events(self) -> list[Any]:
        events = self.data.decode().split("\n\n")
        assert events.pop() == ""
        assert all(event.startswith("data: ") and "\n" not in event for event in events)
        return [json.loads(event[6:]) for event in events]

    @property
    def json(self) -> Any:
        assert self.error is None, self.error
        return json.loads(self.data)


@asynccontextmanager
async def relaying(*seen: StandIn | str, **options: Any):
    """A started backend in front of stand-ins."""
    urls = [one if isinstance(one, str) else one.url for one in seen]
    options = {"model": "their-name", "base_urls": urls[1:], **options}
    backend = Upstream(ModelSettings(id="ours", backend="upstream", source=urls[0], options=options))
    await backend.start()
    try:
        yield backend
    finally:
        await backend.stop()


def chat_request(**body: Any) -> CreateChatCompletionRequest:
    body = {"messages": [{"role": "user", "content": "hi"}], **body} if "prompt" not in body else body
    return CreateChatCompletionRequest.model_validate({"model": "ours", **body})


async def chat(backend: Upstream, **body: Any) -> Outcome:
    return await collect(backend, lambda: backend.chat(chat_request(**body), CALL))


async def complete(backend: Upstream, **body: Any) -> Outcome:
    request = CreateCompletionRequest.model_validate({"model": "ours", "prompt": "hi", **body})
    return await collect(backend, lambda: backend.complete(request, CALL))


async def embed(backend: Upstream, **body: Any) -> Outcome:
    outcome = Outcome()
    try:
        answer = await backend.embed(CreateEmbeddingRequest.model_validate({"model": "ours", "input": "hi", **body}))
        outcome.data, outcome.usage = answer.data, answer.usage
    except APIError as error:
        outcome.error = error
    outcome.repairs = set(backend._repairs.kinds)
    return outcome


async def collect(backend: Upstream, items: Callable[[], Any]) -> Outcome:
    outcome = Outcome()
    try:
        async for item in items():
            if isinstance(item, Accepted):
                continue
            assert isinstance(item, EncodedEvents | EncodedAnswer)
            outcome.data += item.data
            outcome.usage = item.usage or outcome.usage
    except APIError as error:
        outcome.error = error
    outcome.repairs = set(backend._repairs.kinds)
    return outcome


def ask(answer: Answer, *, operation: Any = chat, options: Mapping[str, Any] | None = None, **body: Any) -> Outcome:
    """One request to a backend in front of one stand-in."""

    async def run() -> Outcome:
        async with standing_in(answer) as seen, relaying(seen, max_retries=0, **(options or {})) as backend:
            outcome: Outcome = await operation(backend, **body)
            assert backend.activity().running == 0
            return outcome

    return asyncio.run(run())


def chunk(delta: Any = None, finish: Any = None, index: Any = 0, **more: Any) -> dict[str, Any]:
    """A chunk of a chat that keeps the contract."""
    choice = {"index": index, "delta": delta or {}, "logprobs": None, "finish_reason": finish}
    return {**HEAD, "choices": [choice], "usage": None, **more}


def good(*texts: str) -> list[dict[str, Any]]:
    """A stream that keeps the contract."""
    first = chunk({"role": "assistant", "content": ""})
    last = {**HEAD, "choices": [], "usage": USAGE}
    return [first, *(chunk({"content": text}) for text in texts), chunk(finish="stop"), last]


def plain(message: Any = None, finish: Any = "stop", **more: Any) -> dict[str, Any]:
    """A plain answer that keeps the contract."""
    message = message or {"role": "assistant", "content": "hello", "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}
    return {**HEAD, "object": "chat.completion", "choices": [choice], "usage": USAGE, **more}
