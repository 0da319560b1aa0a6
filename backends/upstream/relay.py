"""One request on its way to an upstream: attempts, and what comes back."""

from __future__ import annotations

import asyncio
import random
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from specserve.backends.base import ACCEPTED, Accepted, EncodedAnswer, EncodedEvents
from specserve.backends.http.connections import ConnectionFailed, TooLarge
from specserve.backends.http.decoding import CannotDecode
from specserve.backends.http.sse import DONE, Events
from specserve.backends.upstream.not_streamed import as_chunks
from specserve.backends.upstream.refusals import from_response
from specserve.spec.errors import (
    APIError,
    UpstreamBreach,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnreachable,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from specserve.backends.http.connections import Connections, Reply
    from specserve.backends.upstream.exchange import Exchange
    from specserve.backends.upstream.options import UpstreamOptions
    from specserve.backends.upstream.pool import Endpoint, Pool
    from specserve.backends.upstream.stream import Stream

Item = Accepted | EncodedEvents | EncodedAnswer

_FIRST_DELAY = 0.25  # seconds before the second attempt; twice as long before each further one
_BUSY_SECONDS = 1.0  # how long an endpoint is left alone that says it is busy, but not for how long
_LARGEST_ERROR = 64 * 1024
_COMMENT_SECONDS = 1.0  # the least time between comments that are passed on
_COMMENT = EncodedEvents(b": keep-alive\n\n")
_WHOLE_ANSWERS = frozenset({200, 201, 203})  # any other success promises less: 205 and 206 say so
_TRIED_AGAIN = frozenset({429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent, and how its answer is read.

    Attributes:
        path: Below the base URL.
        data: The body.
        exchange: What the answer must look like.
        read: Reads a plain answer.
        stream: Makes the reader of a stream, if one is asked for.
    """

    path: str
    data: bytes
    exchange: Exchange
    read: Callable[[bytes, Exchange], EncodedAnswer]
    stream: Callable[[Exchange], Stream] | None = None


class Relay:
    """Sends the requests of one model."""

    def __init__(self, model: str, connections: Connections, pool: Pool, options: UpstreamOptions) -> None:
        self._model = model
        self._connections = connections
        self._pool = pool
        self._options = options
        self._log = structlog.get_logger("specserve.upstream")

    async def send(self, request: Request) -> AsyncGenerator[Item, None]:
        """What goes out to the client. Until the first event of it, a failed attempt is followed by another.

        Raises:
            APIError: The last attempt failed, or it failed after something had gone out.
        """
        tried: list[Endpoint] = []
        retries = 0
        while True:
            endpoint = self._pool.choose(tried)
            endpoint.running += 1
            begun = False
            gone: ConnectionFailed | None = None
            try:
                async with aclosing(self._attempt(endpoint, request)) as items:
                    async for item in items:
                        begun |= item not in (ACCEPTED, _COMMENT)
                        yield item
            except ConnectionFailed as failure:
                gone, error = failure, _gone(failure)
            except APIError as failure:
                error = failure
            else:
                return
            finally:
                endpoint.running -= 1
            tried.append(endpoint)
            lasting = error.status not in _TRIED_AGAIN or isinstance(error, UpstreamBreach | UpstreamRefused)
            if error.status in {429, 503}:
                self._pool.busy(endpoint, error.retry_after or _BUSY_SECONDS)
            elif not lasting:
                reason = request.exchange.without_secrets(str(gone or error.status))
                self._pool.failed(endpoint, reason, refused=gone is not None and gone.refused)
            elsewhere = self._pool.has_other(tried)
            if not (gone and gone.refused and elsewhere):
                retries += 1
            delay = None
            if not begun and not lasting and retries <= self._options.max_retries:
                delay = 0.0 if elsewhere else self._delay(error, gone, retries)
            if error.status >= 429:
                self._log.warning(
                    "attempt failed",
                    model=self._model,
                    url=endpoint.url,
                    status=error.status,
                    code=error.code,
                    reason=request.exchange.without_secrets(str(gone)) if gone else None,
                    another_in=delay,
                )
            if delay is None:
                raise error
            await asyncio.sleep(delay)

    def _delay(self, error: APIError, gone: ConnectionFailed | None, retries: int) -> float | None:
        """Seconds until another attempt where this one was; None if it makes no sense, or would come too late."""
        if gone is not None and gone.timeout:
            return None  # who waited that long should not wait as long again
        if gone is not None and not gone.refused and retries == 1:
            return 0.0  # most likely the upstream closed a connection that had been idle
        jitter = random.uniform(0.5, 1)  # noqa: S311  no secret
        backoff: float = min(self._options.max_retry_delay, _FIRST_DELAY * 2 ** (retries - 1)) * jitter
        if error.retry_after is None:
            return backoff
        return error.retry_after + backoff / 2 if error.retry_after <= self._options.max_retry_delay else None

    async def _attempt(self, endpoint: Endpoint, request: Request) -> AsyncGenerator[Item, None]:
        options = self._options
        began = asyncio.get_running_loop().time()
        try:
            async with await self._connections.request(
                "POST",
                f"{endpoint.url}/{request.path}",
                within=options.connect_timeout + options.first_byte_timeout,
                total=options.total_timeout,
                data=request.data,
                headers={"Content-Type": "application/json"},
            ) as reply:
                if reply.status not in _WHOLE_ANSWERS:
                    raise await self._refusal(reply, request.exchange)
                if request.stream is None:
                    body = await reply.read_all(options.max_answer_bytes, options.idle_timeout)
                    self._pool.answered(endpoint, began)
                    yield request.read(body, request.exchange)
                    return
                stream = request.stream(request.exchange)
                if reply.media_type == "application/json":
                    body = await reply.read_all(options.max_answer_bytes, options.idle_timeout)
                    self._pool.answered(endpoint, began)
                    yield _not_streamed(body, request, stream)
                    return
                yield ACCEPTED
                async with aclosing(self._events(reply, stream)) as events:
                    async for item in events:
                        yield item
                self._pool.answered(endpoint, began)
        except TooLarge:
            raise UpstreamBreach("The server that runs this model sent more than is read here.") from None
        except CannotDecode:
            raise UpstreamBreach("The server that runs this model sent a compressed answer that is not read.") from None

    async def _events(self, reply: Reply, stream: Stream) -> AsyncGenerator[EncodedEvents, None]:
        time = asyncio.get_running_loop().time
        events = Events(self._options.max_event_bytes)
        within = self._options.first_byte_timeout
        commented = 0.0
        done = False
        while not done:
            data = await reply.read(within)
            out: list[bytes] = []
            failure: APIError | None = None
            alive = False
            try:
                for event in events.feed(data) if data else events.close():
                    if event.name == "comment":
                        alive = True
                        continue
                    if event.data.startswith(b"[") and event.data.strip() == DONE:
                        done = True
                        break
                    sent = stream.take(event.data, event.name)
                    if sent is not None:
                        out += (b"data: ", sent, b"\n\n")
            except APIError as error:
                failure = error
            if out:
                within = self._options.idle_timeout
                yield EncodedEvents(b"".join(out))
            elif alive and time() - commented >= _COMMENT_SECONDS:
                commented = time()
                yield _COMMENT
            if failure is not None:
                raise failure
            if not data:
                break
        if done:
            reply.finished()
        last = b"".join(b"data: " + payload + b"\n\n" for payload in stream.end(done=done))
        yield EncodedEvents(last, stream.usage)

    async def _refusal(self, reply: Reply, exchange: Exchange) -> APIError:
        try:
            body = await reply.read_all(_LARGEST_ERROR, self._options.idle_timeout)
        except (TooLarge, CannotDecode):
            body = b""
        error = from_response(reply.status, reply.headers, body, exchange)
        if isinstance(error, UpstreamRefused):
            reason = getattr(error, "reason", "")[:200]
            self._log.error("upstream refuses requests", model=self._model, status=reply.status, reason=reason)
        return error


def _not_streamed(body: bytes, request: Request, stream: Stream) -> EncodedEvents:
    request.exchange.repairs.add("not-streamed")
    plain = request.read(body, request.exchange)
    payloads = [payload for chunk in as_chunks(plain.data) if (payload := stream.take(chunk)) is not None]
    payloads += stream.end(done=True)
    return EncodedEvents(b"".join(b"data: " + payload + b"\n\n" for payload in payloads), stream.usage)


def _gone(failure: ConnectionFailed) -> APIError:
    if failure.timeout:
        return UpstreamTimeout("The server that runs this model did not answer in time.")
    return UpstreamUnreachable("The server that runs this model cannot be reached, or broke off its answer.")
