"""The addresses of one model: which of them are well, and which has the least to do."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from specserve.backends.http.connections import ConnectionFailed, Connections, TooLarge
from specserve.backends.http.decoding import CannotDecode
from specserve.backends.upstream.listing import LARGEST_LIST, WITHIN, get_models

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

_MOST_FAILURES = 3  # requests in a row, before an address that can be reached counts as ill
# An address that fails fast always looks idle; its failures count as load, so that it does not attract all requests.
_LOAD_OF_A_FAILURE = 8


@dataclass(eq=False)
class Endpoint:
    """One address.

    Attributes:
        url: Without a slash at its end.
        running: Requests that it works on for us.
        healthy: False from a failure until a probe finds it well.
        ill_since: Time of the event loop at which it last failed.
        failures: Requests in a row without an answer.
        not_before: Time of the event loop up to which it asked to be left alone.
        last_used: Number of the request that it was last chosen for.
    """

    url: str
    running: int = 0
    healthy: bool = True
    ill_since: float = 0.0
    failures: int = 0
    not_before: float = 0.0
    last_used: int = 0


class Pool:
    """The endpoints of one model, and the task that probes them."""

    def __init__(self, model: str, urls: Sequence[str], probe_interval: float) -> None:
        self.endpoints = [Endpoint(url) for url in urls]
        self._model = model
        self._probe_interval = probe_interval
        self._chosen = 0
        self._failed = asyncio.Event()
        self._probing: asyncio.Task[None] | None = None
        self._log = structlog.get_logger("specserve.upstream")

    @property
    def running(self) -> int:
        """Requests at all endpoints."""
        return sum(endpoint.running for endpoint in self.endpoints)

    def start(self, connections: Connections) -> None:
        """Begin to probe: endpoints that failed and, where there are several, all."""
        self._probing = asyncio.create_task(self._probe_for_ever(connections))

    async def stop(self) -> None:
        """End the probes."""
        if self._probing is not None:
            self._probing.cancel()
            await asyncio.gather(self._probing, return_exceptions=True)
            self._probing = None

    def choose(self, tried: Collection[Endpoint] = ()) -> Endpoint:
        """The least busy endpoint; in turn where several are as busy.

        One that is ill, asked to be left alone or was tried already is taken only if there is no other.
        """
        self._chosen += 1
        if len(self.endpoints) == 1:
            return self.endpoints[0]
        now = asyncio.get_running_loop().time()

        def rank(endpoint: Endpoint) -> tuple[bool, bool, bool, int, int]:
            waits = endpoint.not_before > now
            load = endpoint.running + _LOAD_OF_A_FAILURE * endpoint.failures
            return endpoint in tried, not endpoint.healthy, waits, load, endpoint.last_used

        endpoint = min(self.endpoints, key=rank)
        endpoint.last_used = self._chosen
        return endpoint

    def has_other(self, tried: Collection[Endpoint]) -> bool:
        """Whether an endpoint that seems well was not tried yet, so that there is nothing to wait for."""
        now = asyncio.get_running_loop().time()
        return any(e.healthy and e.not_before <= now and e not in tried for e in self.endpoints)

    def answered(self, endpoint: Endpoint, began: float) -> None:
        """It answered a request. One that began before it failed says nothing of how it is now."""
        endpoint.failures = 0
        if began > endpoint.ill_since:
            self._mark(endpoint, healthy=True)

    def failed(self, endpoint: Endpoint, reason: str, *, refused: bool) -> None:
        """It did not. One that cannot be reached is ill at once; one that broke off may have had its reason."""
        endpoint.failures += 1
        if refused or endpoint.failures >= _MOST_FAILURES:
            self._mark(endpoint, healthy=False, reason=reason)

    def busy(self, endpoint: Endpoint, seconds: float) -> None:
        """It asked to be left alone for so long."""
        endpoint.not_before = asyncio.get_running_loop().time() + seconds

    def _mark(self, endpoint: Endpoint, *, healthy: bool, reason: str = "") -> None:
        if not healthy:
            endpoint.ill_since = asyncio.get_running_loop().time()
        if endpoint.healthy == healthy:
            return
        endpoint.healthy = healthy
        if healthy:
            self._log.info("upstream is back", model=self._model, url=endpoint.url)
        else:
            self._log.warning("upstream is taken out", model=self._model, url=endpoint.url, reason=reason)
            self._failed.set()

    async def _probe_for_ever(self, connections: Connections) -> None:
        while True:
            if len(self.endpoints) == 1:
                await self._failed.wait()
            self._failed.clear()
            # Several of our processes should not knock all at the same moment.
            await asyncio.sleep(self._probe_interval * random.uniform(0.8, 1.2))  # noqa: S311  no secret
            every = len(self.endpoints) > 1
            await asyncio.gather(*(self.probe(connections, e) for e in self.endpoints if every or not e.healthy))
            if any(not endpoint.healthy for endpoint in self.endpoints):
                self._failed.set()

    async def probe(
        self, connections: Connections, endpoint: Endpoint, read: Callable[[bytes], None] | None = None
    ) -> None:
        """Ask for the list of models. An endpoint is well if it answers, with anything except a 5xx."""
        began = asyncio.get_running_loop().time()
        try:
            async with await get_models(connections, endpoint.url) as reply:
                body = await reply.read_all(LARGEST_LIST, WITHIN)
                status = reply.status
        except ConnectionFailed as error:
            self._mark(endpoint, healthy=False, reason=str(error))
            return
        except (TooLarge, CannotDecode):
            status, body = 200, b""
        if status >= 500:
            self._mark(endpoint, healthy=False, reason=f"status {status}")
            return
        self.answered(endpoint, began)
        if status in {401, 403}:
            self._log.warning("upstream refuses the key", model=self._model, url=endpoint.url, status=status)
        elif read is not None and status == 200:
            read(body)
