"""Requests to watsonx.ai: with a token, tried again where that is safe, and their failures told as our errors."""

from __future__ import annotations

import asyncio
import json
import random
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from specserve.backends.watsonx.events import events
from specserve.backends.watsonx.failures import Problem, client_error, read_problem
from specserve.spec.errors import APIError, Unavailable, UpstreamBreach, UpstreamTimeout, UpstreamUnreachable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping

    from aiohttp import ClientResponse, ClientSession

    from specserve.backends.watsonx.options import WatsonxOptions
    from specserve.backends.watsonx.place import Place
    from specserve.backends.watsonx.tokens import Token, Tokens

_TRIED_AGAIN = frozenset({429, 503})
_FIRST_PAUSE = 0.5  # seconds; doubled with each attempt, and more or less than that by chance
_LONGEST_PAUSE = 8.0
_QUICK = 1.0  # seconds; a connection that was kept, and closed at the other end, breaks at once
_LONGEST_ERROR = 64 * 1024  # bytes of an error's body that are read
_MOST_PAGES = 20
_MOST_TOKENS = 4  # that one request tries after its first: on a busy machine a token may expire on its way


class NotConnected(UpstreamUnreachable):
    """No connection came about, so nothing was sent."""


@dataclass(frozen=True)
class _Request:
    """What is sent, but for the token; only what has a body needs one."""

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
        place: Where to.
        options: Timeouts and retries.
        tokens: Shared with other models of the same key.
    """

    def __init__(self, place: Place, options: WatsonxOptions, tokens: Tokens) -> None:
        self._place = place
        self._tokens = tokens
        self._max_retries = options.max_retries
        self._closed = False
        self._responses: set[ClientResponse] = set()
        self._session = open_session(connect_within=options.connect_timeout, silent_for=options.idle_timeout)

    async def close(self) -> None:
        """End what runs."""
        self._closed = True
        for response in tuple(self._responses):
            response.close()  # the session would close its connection without telling who reads
        await self._session.close()

    async def list_models(self) -> list[Any]:
        """All pages of the list of foundation models, which needs no token.

        Raises:
            APIError: It could not be read.
        """
        resources: list[Any] = []
        query = {"limit": "200", "version": self._place.version}
        for _ in range(_MOST_PAGES):
            async with self._opened(_Request("GET", "/ml/v1/foundation_model_specs", query)) as response:
                page = await _read_object(response)
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
            return await _read_object(response)

    async def stream(
        self, path: str, body: Mapping[str, Any], *, asked: Iterable[str], text: str
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Send a request and read the events of its answer; see `post`. Closing it closes the connection.

        Raises:
            APIError: There is no answer, or it broke off.
        """
        request = self._request(path, body, accept="text/event-stream")
        async with self._opened(request, asked=asked, text=text) as response:
            if response.content_type != "text/event-stream":
                raise UpstreamBreach("The service behind this model sent no stream.")
            async for event in events(self._chunks(response)):
                if event.name == "error":
                    raise client_error(read_problem(200, event.data), asked=asked, text=text)
                if event.name == "message":
                    yield _object(event.data)

    def _request(self, path: str, body: Mapping[str, Any], accept: str = "application/json") -> _Request:
        version = {"version": self._place.version}
        return _Request("POST", f"/ml/v1/text/{path}", version, json.dumps(body).encode(), accept)

    async def _chunks(self, response: ClientResponse) -> AsyncGenerator[bytes, None]:
        try:
            async for chunk in response.content.iter_any():
                yield chunk
        except connection_errors() as error:
            raise self._failure(error, begun=True) from None

    @asynccontextmanager
    async def _opened(
        self, request: _Request, *, asked: Iterable[str] = (), text: str = ""
    ) -> AsyncIterator[ClientResponse]:
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
        self._responses.add(outcome)
        try:
            yield outcome
        finally:
            self._responses.discard(outcome)
            outcome.close()

    async def _attempt(self, request: _Request, token: Token | None) -> ClientResponse | Problem | _Failed:
        """Send it once: a response with status 200, what was said in its place, or why there is nothing."""
        sent_at = time.monotonic()
        try:
            # A redirect would take the token to who knows where.
            response = await self._session.request(
                request.method,
                self._place.url + request.path,
                params=request.query,
                data=request.data,
                headers=request.headers | ({} if token is None else {"Authorization": f"Bearer {token.value}"}),
                allow_redirects=False,
            )
            if response.status == 200:
                return response
            async with response:
                said = await read_at_most(response, _LONGEST_ERROR)
        except connection_errors() as error:
            failure = self._failure(error, begun=False)
            # A request whose connection broke late was worked on, and would be paid for twice.
            quick = isinstance(failure, UpstreamUnreachable) and time.monotonic() - sent_at < _QUICK
            return _Failed(failure, again=quick or isinstance(failure, NotConnected))
        return read_problem(response.status, said, retry_after=response.headers.get("Retry-After"), now=time.time())

    def _failure(self, error: Exception, *, begun: bool) -> APIError:
        if self._closed:
            return Unavailable("This model is shutting down.")
        return connection_failure(error, begun=begun)


def open_session(*, connect_within: float, silent_for: float) -> ClientSession:
    """Connections with timeouts in seconds. As many as are asked for: the models' doors limit them."""
    import aiohttp

    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect_within, sock_read=silent_for),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": "specserve"},
        trust_env=True,  # proxies
    )


def connection_errors() -> tuple[type[Exception], ...]:
    """What a request fails with if there is no answer, or not all of it."""
    import aiohttp

    return aiohttp.ClientError, OSError, TimeoutError


def connection_failure(
    error: Exception, *, begun: bool = False, who: str = "The service behind this model"
) -> APIError:
    """Our error for one of `connection_errors`. Says nothing of addresses or headers, which those may hold."""
    import aiohttp

    if isinstance(error, aiohttp.ConnectionTimeoutError | aiohttp.ClientConnectorError):
        return NotConnected(f"{who} cannot be reached.")
    if isinstance(error, TimeoutError):
        return UpstreamTimeout(f"{who} did not answer in time.")
    return UpstreamUnreachable(f"{who} broke off its answer." if begun else f"{who} cannot be reached.")


async def read_at_most(response: ClientResponse, size: int) -> bytes:
    """The body, or as much of it as `size` bytes and what came with them."""
    parts, read = [], 0
    async for part in response.content.iter_any():
        parts.append(part)
        read += len(part)
        if read >= size:
            break
    return b"".join(parts)


def _pause(attempt: int, retry_after: int | None) -> float:
    """Seconds until the next attempt: what the service asked for, or more each time; by chance, so not all at once."""
    if retry_after is not None:
        return retry_after + random.uniform(0, 0.5)  # noqa: S311  no secret
    longest = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0**attempt)
    return longest * random.uniform(0.5, 1)  # noqa: S311


async def _read_object(response: ClientResponse) -> dict[str, Any]:
    try:
        body = await response.read()
    except connection_errors() as error:
        raise connection_failure(error, begun=True) from None
    return _object(body)


def _object(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise UpstreamBreach("The service behind this model sent what is not understood.")
    return value
