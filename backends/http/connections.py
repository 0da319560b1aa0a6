"""HTTP to another server. With `bounded.py` the only file that knows the library.

The library is aiohttp: its parsers are in C, it pools connections without a lock, and a response that is closed early
closes its connection, which is how the other server learns that nobody listens any more. docs/upstream.md has the
figures.
"""

from __future__ import annotations

import asyncio
import ipaddress
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from specserve.backends.http.decoding import Decoder

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import ClientResponse, ClientSession

# Shorter than servers keep idle connections (uvicorn 5 s): the one who may send next should be the one who closes.
_KEEP_ALIVE_SECONDS = 4.0
_DRAIN_SECONDS = 1.0
_PART = 16 * 1024  # bytes that are read at a time, so that a flood of tiny events does not keep the loop for long
_TURN_SECONDS = 0.01  # for which one answer may keep the event loop before it lets others have it


class ConnectionFailed(Exception):
    """There was no answer, or the end of one. The message is for the log, and may quote the other server.

    Attributes:
        refused: No connection came about, so the other server knows nothing of the request.
        timeout: It took too long.
    """

    def __init__(self, reason: str, *, refused: bool = False, timeout: bool = False) -> None:
        super().__init__(reason)
        self.refused = refused
        self.timeout = timeout


class TooLarge(Exception):
    """More was sent than is read."""


class Connections:
    """A pool of connections to the servers of one model. Made and closed on the event loop.

    Args:
        headers: Sent with each request.
        connect_timeout: Seconds for a connection, TLS included.
    """

    def __init__(self, *, headers: Mapping[str, str], connect_timeout: float) -> None:
        import aiohttp

        from specserve.backends.http.bounded import bound

        self._errors = (aiohttp.ClientError, OSError)
        self._not_connected = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
        self._timeouts = (TimeoutError, aiohttp.ServerTimeoutError)
        # No limit: the model's admission is the limit, and holds for all of its addresses together.
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE_SECONDS)
        bound(connector, asyncio.get_running_loop())
        self._session: ClientSession = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": "specserve", "Accept-Encoding": "identity", **headers},
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect_timeout),
            auto_decompress=False,  # `Decoder` has bounds
        )
        self._draining: set[asyncio.Task[None]] = set()
        self._proxies: dict[str, str | None] = {}

    async def close(self) -> None:
        """Close every connection."""
        for task in self._draining:
            task.cancel()
        await asyncio.gather(*self._draining, return_exceptions=True)
        await self._session.close()

    async def request(self, method: str, url: str, *, within: float, total: float, **more: Any) -> Reply:
        """Send a request and wait for the head of the answer.

        Args:
            method: The HTTP method.
            url: Where to.
            within: Seconds to the head.
            total: Seconds to the end of the answer, after which its connection is closed, read or not.
            more: `data`, `params`, `headers`.

        Raises:
            ConnectionFailed: No head came.
        """
        deadline = asyncio.get_running_loop().time() + total
        if url not in self._proxies:
            self._proxies[url] = proxy_for(url)
        try:
            async with asyncio.timeout(min(within, total)):
                # A redirect is never followed: it could lead to another host, which is not to be given the key.
                response = await self._session.request(
                    method, url, allow_redirects=False, proxy=self._proxies[url], **more
                )
        except self._not_connected as error:
            raise ConnectionFailed(_reason(error), refused=True) from None
        except self._timeouts as error:
            raise ConnectionFailed("no answer in time", timeout=True) from error
        except self._errors as error:
            raise ConnectionFailed(_reason(error)) from None
        return Reply(self, response, deadline)

    async def read(self, response: ClientResponse, at: float) -> bytes:
        """The next bytes of a body, as they are on the wire, at most 16 KiB; none at its end."""
        content = response.content
        try:
            data = content.read_nowait(_PART)
            if data or content.at_eof():
                return data
            async with asyncio.timeout_at(at):
                return await content.read(_PART)
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

    def __init__(self, connections: Connections, response: ClientResponse, deadline: float) -> None:
        loop = asyncio.get_running_loop()
        self._connections = connections
        self._response = response
        self._deadline = deadline
        self._time = loop.time
        self._turn = loop.time()
        # Also while nobody reads, because our own client does not: the other server must not be kept busy for that.
        self._end = loop.call_at(deadline, response.close)
        encoding = response.headers.get("Content-Encoding", "").strip().lower()
        self._encoding = "" if encoding == "identity" else encoding
        self._decoder: Decoder | None = None

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
        """The next bytes of the body, decoded, at most 64 KiB; none at its end.

        Raises:
            ConnectionFailed: None came within so many seconds, the time for the whole is over, or the connection broke.
            CannotDecode: It is compressed, and cannot be decoded or should not.
        """
        while True:
            now = self._time()
            if now - self._turn > _TURN_SECONDS:
                await asyncio.sleep(0)
                self._turn = now = self._time()
            if now >= self._deadline:
                raise ConnectionFailed("the answer took too long", timeout=True)
            if self._decoder is not None and (data := self._decoder.step()):
                return data
            data = await self._connections.read(self._response, min(now + within, self._deadline))
            if not data or not self._encoding:
                return data
            if self._decoder is None:
                self._decoder = Decoder(self._encoding)
            self._decoder.feed(data)

    async def read_all(self, limit: int, within: float) -> bytes:
        """The whole body.

        Raises:
            ConnectionFailed: It stood still for so many seconds, took too long, or broke off.
            CannotDecode: See `read`.
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
        self._end.cancel()
        self._response.release()
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def finished(self) -> None:
        """All was read that matters: let another request have the connection."""
        self._end.cancel()
        self._connections.drain(self._response)

    def close(self) -> None:
        """Close the connection, unless it was given back; so the other server sees that nobody listens."""
        self._end.cancel()
        self._response.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()


def proxy_for(url: str) -> str | None:
    """The proxy that the environment names for a URL (HTTPS_PROXY, HTTP_PROXY, NO_PROXY); none for this machine."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    proxy = getproxies().get(parts.scheme)
    if not proxy or is_loopback(host) or proxy_bypass(f"{host}:{parts.port}" if parts.port else host):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def is_loopback(host: str) -> bool:
    """Whether a host is this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _reason(error: BaseException) -> str:
    """What went wrong, without what was sent."""
    return f"{type(error).__name__}: {error}"[:200]
