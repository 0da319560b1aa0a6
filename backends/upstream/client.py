"""HTTP to an upstream. The only file that knows the library.

The library is aiohttp: its parsers are in C, it pools connections without a lock, and a response that is closed early
closes its connection, which is how an upstream learns that nobody listens any more. docs/upstream.md has the figures.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import ClientResponse, ClientSession

    from specserve.backends.upstream.options import UpstreamOptions

# Shorter than servers keep idle connections (uvicorn 5 s): the one who may send next should be the one who closes.
_KEEP_ALIVE_SECONDS = 4.0
_DRAIN_SECONDS = 1.0


class ConnectionFailed(Exception):
    """There was no answer, or the end of one. The message is for the log.

    Attributes:
        refused: No connection came about, so the upstream knows nothing of the request.
        timeout: It took too long.
    """

    def __init__(self, reason: str, *, refused: bool = False, timeout: bool = False) -> None:
        super().__init__(reason)
        self.refused = refused
        self.timeout = timeout


class TooLarge(Exception):
    """More was sent than is read."""


class Client:
    """A pool of connections to the upstreams of one model. Made and closed on the event loop."""

    def __init__(self, options: UpstreamOptions) -> None:
        import aiohttp

        secrets = {name: secret.get_secret_value() for name, secret in options.secrets().items()}
        self._options = options
        self._errors = (aiohttp.ClientError, OSError)
        self._not_connected = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
        self._timeouts = (TimeoutError, aiohttp.ServerTimeoutError)
        self._session: ClientSession = aiohttp.ClientSession(
            # No limit: the model's admission is the limit, and holds for all of its addresses together.
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": "specserve", "Accept-Encoding": "identity", **options.headers, **secrets},
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=options.connect_timeout),
        )
        self._draining: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Close every connection."""
        for task in self._draining:
            task.cancel()
        await asyncio.gather(*self._draining, return_exceptions=True)
        await self._session.close()

    async def post(self, url: str, body: bytes) -> Reply:
        """Send a request and wait for the head of the answer.

        Raises:
            ConnectionFailed: None came.
        """
        now = asyncio.get_running_loop().time()
        within = min(self._options.connect_timeout + self._options.first_byte_timeout, self._options.total_timeout)
        headers = {"Content-Type": "application/json"}
        return await self._request("POST", url, within, now + self._options.total_timeout, headers=headers, data=body)

    async def get(self, url: str, within: float) -> Reply:
        """Ask for a small document, such as the list of models.

        Raises:
            ConnectionFailed: None came within so many seconds.
        """
        now = asyncio.get_running_loop().time()
        return await self._request("GET", url, within, now + within)

    async def _request(self, method: str, url: str, within: float, deadline: float, **more: Any) -> Reply:
        try:
            async with asyncio.timeout(within):
                # A redirect is never followed: it could lead to another host, which is not to be given the key.
                response = await self._session.request(method, url, allow_redirects=False, **more)
        except self._not_connected as error:
            raise ConnectionFailed(_reason(error), refused=True) from None
        except self._timeouts as error:
            raise ConnectionFailed("no answer in time", timeout=True) from error
        except self._errors as error:
            raise ConnectionFailed(_reason(error)) from None
        return Reply(self, response, deadline)

    async def read(self, response: ClientResponse, at: float) -> bytes:
        """The next bytes of a body, as many as there are; none at its end."""
        content = response.content
        try:
            data = content.read_nowait()
            if data or content.at_eof():
                return data
            async with asyncio.timeout_at(at):
                return await content.readany()
        except self._timeouts as error:
            raise ConnectionFailed("the answer stood still", timeout=True) from error
        except self._errors as error:
            raise ConnectionFailed(_reason(error)) from None

    def drain(self, response: ClientResponse) -> None:
        """Give a connection back once its response has come to its end, which is due."""
        if response.content.at_eof():
            response.release()
            return
        task = asyncio.create_task(self._drain(response))
        self._draining.add(task)
        task.add_done_callback(self._draining.discard)

    async def _drain(self, response: ClientResponse) -> None:
        try:
            async with asyncio.timeout(_DRAIN_SECONDS):
                if not await response.content.readany():
                    response.release()
        except (*self._errors, TimeoutError):
            pass
        finally:
            response.close()


class Reply:
    """The head of an answer, and its body as it comes. Must be closed."""

    def __init__(self, client: Client, response: ClientResponse, deadline: float) -> None:
        self._client = client
        self._response = response
        self._deadline = deadline
        self._time = asyncio.get_running_loop().time

    @property
    def status(self) -> int:
        """The status."""
        return self._response.status

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers; their names are found in any case."""
        return self._response.headers

    @property
    def media_type(self) -> str:
        """The content type without its parameters."""
        return self._response.headers.get("Content-Type", "").partition(";")[0].strip().lower()

    async def read(self, within: float) -> bytes:
        """The next bytes of the body; none at its end.

        Raises:
            ConnectionFailed: None came within so many seconds, or the connection broke.
        """
        return await self._client.read(self._response, min(self._time() + within, self._deadline))

    async def read_all(self, limit: int, within: float) -> bytes:
        """The whole body.

        Raises:
            ConnectionFailed: It stood still for so many seconds, or broke off.
            TooLarge: It has more bytes than `limit`.
        """
        announced = self._response.content_length
        if announced is not None and announced > limit:
            raise TooLarge
        parts: list[bytes] = []
        size = 0
        while data := await self.read(within):
            size += len(data)
            if size > limit:
                raise TooLarge
            parts.append(data)
        self._response.release()
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def finished(self) -> None:
        """All was read that matters: let another request have the connection."""
        self._client.drain(self._response)

    def close(self) -> None:
        """Close the connection, unless it was given back; so the upstream sees that nobody listens."""
        self._response.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()


def _reason(error: BaseException) -> str:
    """What went wrong, without what was sent."""
    return f"{type(error).__name__}: {error}"[:200]
