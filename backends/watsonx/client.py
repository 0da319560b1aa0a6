"""Requests to watsonx.ai: with a token, tried again where that is safe, and failures as our errors."""

from __future__ import annotations

import asyncio
import json
import random
import time
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from specserve.backends.http.connections import ConnectionFailed, Connections, TooLarge
from specserve.backends.http.decoding import CannotDecode
from specserve.backends.http.sse import Events
from specserve.backends.watsonx.failures import Problem, client_error, read_problem
from specserve.spec.errors import APIError, Unavailable, UpstreamBreach, UpstreamTimeout, UpstreamUnreachable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping

    from specserve.backends.http.connections import Reply
    from specserve.backends.watsonx.options import WatsonxOptions
    from specserve.backends.watsonx.service_access import ServiceAccess
    from specserve.backends.watsonx.tokens import Token, Tokens

_TRIED_AGAIN = frozenset({429, 503})
_FIRST_PAUSE = 0.5  # seconds; doubled with each attempt, and more or less than that by chance
_LONGEST_PAUSE = 8.0
_QUICK = 1.0  # seconds; a connection that was kept, and closed at the other end, breaks at once
_LARGEST_ERROR = 64 * 1024  # bytes; a larger one is not read
_LARGEST_ANSWER = 64 * 1024 * 1024
_LARGEST_EVENT = 4 * 1024 * 1024
_MOST_PAGES = 20
_MOST_TOKENS = 4  # that one request tries after its first: on a busy machine a token may expire on its way


@dataclass(frozen=True)
class _Request:
    """What is sent, except the token, which only a request with a body needs."""

    method: str
    path: str
    query: Mapping[str, str]
    data: bytes | None = None
    accept: str = "application/json"

    @property
    def needs_token(self) -> bool:
        return self.data is not None

    @property
    def headers(self) -> dict[str, str]:
        return {"Accept": self.accept} | ({} if self.data is None else {"Content-Type": "application/json"})


@dataclass(frozen=True)
class _Failed:
    """Why an attempt came to nothing, and whether another may do better."""

    error: APIError
    again: bool


class Client:
    """The connections of one model. Lives on one event loop; open it there.

    Args:
        access: Where to, and for whom.
        options: Timeouts and retries.
        tokens: Shared with other models of the same key.
    """

    def __init__(self, access: ServiceAccess, options: WatsonxOptions, tokens: Tokens) -> None:
        self._access = access
        self._tokens = tokens
        self._max_retries = options.max_retries
        self._closed = False
        self._replies: set[Reply] = set()
        self._idle_timeout = options.idle_timeout
        self._total_timeout = options.total_timeout
        self._connections = Connections(headers={}, connect_timeout=options.connect_timeout)

    async def close(self) -> None:
        """End what runs."""
        self._closed = True
        for reply in tuple(self._replies):
            reply.close()  # so that its reader is told
        await self._connections.close()

    async def list_models(self) -> list[Any]:
        """All pages of the list of foundation models, which needs no token.

        Raises:
            APIError: It could not be read.
        """
        resources: list[Any] = []
        query = {"limit": "200", "version": self._access.version}
        for _ in range(_MOST_PAGES):
            async with self._opened(_Request("GET", "/ml/v1/foundation_model_specs", query)) as response:
                page = await self._read_object(response)
            found = page.get("resources")
            if not isinstance(found, list):
                raise UpstreamBreach("The service's list of models is not understood.")
            resources += found
            following = page.get("next")
            href = following.get("href") if isinstance(following, dict) else None
            start = parse_qs(urlsplit(href).query).get("start") if isinstance(href, str) else None
            if not start:
                break
            query["start"] = start[0]
        return resources

    async def post(self, path: str, body: Mapping[str, Any], *, asked: Iterable[str], text: str) -> dict[str, Any]:
        """Send a request and read its answer.

        Args:
            path: Below ``/ml/v1/text/``.
            body: What to send.
            asked: Names of the client's parameters, to which an error may refer.
            text: That of them which holds the input.

        Raises:
            APIError: There is no answer.
        """
        async with self._opened(self._request(path, body), asked=asked, text=text) as response:
            return await self._read_object(response)

    async def stream(
        self, path: str, body: Mapping[str, Any], *, asked: Iterable[str], text: str
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Send a request and read the events of its answer; see `post`. Closing it closes the connection.

        Raises:
            APIError: There is no answer, or it broke off.
        """
        request = self._request(path, body, accept="text/event-stream")
        async with self._opened(request, asked=asked, text=text) as response:
            if response.media_type != "text/event-stream":
                raise UpstreamBreach("The service behind this model sent no stream.")
            events = Events(_LARGEST_EVENT)
            with self._failures(begun=True):
                while data := await response.read(self._idle_timeout):
                    for event in events.feed(data):
                        if event.name == "error":
                            raise client_error(read_problem(200, event.data), asked=asked, text=text)
                        if event.name == "message":
                            yield _object(event.data)

    def _request(self, path: str, body: Mapping[str, Any], accept: str = "application/json") -> _Request:
        version = {"version": self._access.version}
        return _Request("POST", f"/ml/v1/text/{path}", version, json.dumps(body).encode(), accept)

    @asynccontextmanager
    async def _opened(self, request: _Request, *, asked: Iterable[str] = (), text: str = "") -> AsyncIterator[Reply]:
        """A response with status 200, closed in the end. Its connection is kept only if all of it was read."""
        token = await self._tokens.get() if request.needs_token else None
        attempt, chances = 0, _MOST_TOKENS
        while True:
            outcome = await self._attempt(request, token)
            if isinstance(outcome, Problem):
                if outcome.status == 401 and token is not None and chances:
                    # One that was rejected while it should be good is replaced once, one that came late again.
                    chances = chances - 1 if self._tokens.has_expired(token) else 0
                    token = await self._tokens.replace(token)
                    continue
                outcome = _Failed(client_error(outcome, asked=asked, text=text), again=outcome.status in _TRIED_AGAIN)
            if not isinstance(outcome, _Failed):
                break
            pause = _pause(attempt, outcome.error.retry_after)
            if not outcome.again or self._closed or attempt >= self._max_retries or pause > _LONGEST_PAUSE:
                raise outcome.error
            await asyncio.sleep(pause)
            attempt += 1
            token = token and await self._tokens.get()
        self._replies.add(outcome)
        try:
            yield outcome
        finally:
            self._replies.discard(outcome)
            outcome.close()

    async def _attempt(self, request: _Request, token: Token | None) -> Reply | Problem | _Failed:
        """Send it once: a reply with status 200, what was said in its place, or why there is nothing."""
        sent_at = time.monotonic()
        try:
            reply = await self._connections.request(
                request.method,
                self._access.url + request.path,
                within=self._idle_timeout,
                total=self._total_timeout,
                params=request.query,
                data=request.data,
                headers=request.headers | ({} if token is None else {"Authorization": f"Bearer {token.value}"}),
            )
            if reply.status == 200:
                return reply
            async with reply:
                said = await reply.read_all(_LARGEST_ERROR, self._idle_timeout)
        except (TooLarge, CannotDecode):
            said = b""
        except ConnectionFailed as failed:
            # A request whose connection broke late was worked on, and would be paid for twice.
            quick = not failed.timeout and time.monotonic() - sent_at < _QUICK
            return _Failed(self._failure(failed), again=quick or failed.refused)
        return read_problem(reply.status, said, retry_after=reply.headers.get("Retry-After"), now=time.time())

    async def _read_object(self, reply: Reply) -> dict[str, Any]:
        with self._failures(begun=True):
            return _object(await reply.read_all(_LARGEST_ANSWER, self._idle_timeout))

    @contextmanager
    def _failures(self, *, begun: bool) -> Iterator[None]:
        """Raise our errors in place of those of the connection."""
        try:
            yield
        except ConnectionFailed as failed:
            raise self._failure(failed, begun=begun) from None
        except (TooLarge, CannotDecode):
            raise UpstreamBreach("The service behind this model sent more than is read, or what cannot be.") from None

    def _failure(self, failed: ConnectionFailed, *, begun: bool = False) -> APIError:
        if self._closed:
            return Unavailable("This model is shutting down.")
        return connection_failure(failed, begun=begun)


def connection_failure(
    failed: ConnectionFailed, *, begun: bool = False, who: str = "The service behind this model"
) -> APIError:
    """Our error for a connection that failed. It has nothing of addresses or headers."""
    if failed.refused:
        return UpstreamUnreachable(f"{who} cannot be reached.")
    if failed.timeout:
        return UpstreamTimeout(f"{who} did not answer in time.")
    return UpstreamUnreachable(f"{who} broke off its answer." if begun else f"{who} cannot be reached.")


def _pause(attempt: int, retry_after: int | None) -> float:
    """Seconds until the next attempt: what the service asked for, or more each time; by chance, so not all at once."""
    if retry_after is not None:
        return retry_after + random.uniform(0, 0.5)  # noqa: S311  no secret
    longest = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0**attempt)
    return longest * random.uniform(0.5, 1)  # noqa: S311


def _object(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise UpstreamBreach("The service behind this model sent what is not understood.")
    return value
