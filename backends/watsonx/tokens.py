"""IAM tokens: fetched once, given to everyone, renewed before they expire, by one renewal at a time."""

from __future__ import annotations

import asyncio
import math
import random
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import structlog

from specserve.spec.errors import APIError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_RENEW_BEFORE = 600.0  # seconds; of a token that lives for an hour, as IBM's do
_RENEW_SHARE = 0.2  # of the lifetime, for tokens that live shorter
_UNSAFE = 5.0  # seconds before its end in which a token may expire on its way
_UNSAFE_SHARE = 0.05
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0  # seconds; doubled with each failure in a row, while there is no token
_PAUSE_SHARE = 0.1  # of the time left: how long to wait after a renewal failed that nobody waited for


@dataclass(frozen=True)
class Token:
    """What IAM gives.

    Attributes:
        value: The bearer token.
        lifetime: Seconds from when it was asked for until it expires.
        expires_at: When that is, by the clock of its `Tokens`.
    """

    value: str = field(repr=False)
    lifetime: float
    expires_at: float = 0.0


class Tokens:
    """The current token of one API key. Lives on one event loop.

    Args:
        fetch: Asks IAM for a new token. Raises an `APIError` that says why there is none.
        clock: Seconds, never going back.
    """

    def __init__(self, fetch: Callable[[], Awaitable[Token]], clock: Callable[[], float] = time.monotonic) -> None:
        self._fetch = fetch
        self._clock = clock
        self._token: Token | None = None
        self._renew_at = 0.0
        self._unsafe_at = 0.0
        self._renewal: asyncio.Task[Token] | None = None
        self._failure: APIError | None = None
        self._not_before = 0.0  # after a failure; until then it is the answer to all
        self._pause = 0.0

    async def get(self) -> Token:
        """A token that will not expire on its way.

        One that is near its end is still given, while the next is fetched; who finds none waits for it.

        Raises:
            APIError: There is no token, and none could be fetched.
        """
        now = self._clock()
        if self._token is None or now >= self._unsafe_at:
            return await self._renewed()
        if now >= self._renew_at:
            self._renew()
        return self._token

    def has_expired(self, token: Token) -> bool:
        """Whether a token that was good when it was given is so no more: that the service rejects it says nothing."""
        return self._clock() >= token.expires_at

    async def replace(self, rejected: Token) -> Token:
        """Another token than the one that the service rejected: a new one, unless somebody has just fetched it.

        Raises:
            APIError: None could be fetched.
        """
        token = self._token
        if token is not None and token.value != rejected.value and self._clock() < self._unsafe_at:
            return token
        return await self._renewed()

    async def close(self) -> None:
        """Give up a renewal that is under way."""
        if self._renewal is not None:
            self._renewal.cancel()
            await asyncio.wait([self._renewal])

    async def _renewed(self) -> Token:
        if self._failure is not None and self._clock() < self._not_before:
            wait = max(1, math.ceil(self._not_before - self._clock()))
            raise type(self._failure)(self._failure.message, retry_after=wait)
        # Shielded: the renewal belongs to all who wait, so a client that goes away must not end it.
        return await asyncio.shield(self._renew())

    def _renew(self) -> asyncio.Task[Token]:
        if self._renewal is None or self._renewal.done():
            self._renewal = asyncio.create_task(self._fetch_next())
            self._renewal.add_done_callback(self._note_failure)
        return self._renewal

    async def _fetch_next(self) -> Token:
        asked_at = self._clock()
        token = await self._fetch()
        self._failure, self._pause = None, 0.0
        self._token = token = replace(token, expires_at=asked_at + token.lifetime)
        self._renew_at = token.expires_at - min(_RENEW_BEFORE, token.lifetime * _RENEW_SHARE)
        self._unsafe_at = token.expires_at - min(_UNSAFE, token.lifetime * _UNSAFE_SHARE)
        return token

    def _note_failure(self, renewal: asyncio.Task[Token]) -> None:
        """Log a failure, for which nobody may have waited, and leave IAM alone for a while."""
        error = None if renewal.cancelled() else renewal.exception()
        if error is None:
            return
        now = self._clock()
        self._renew_at = now + max(0.0, self._unsafe_at - now) * _PAUSE_SHARE
        self._pause = min(_LONGEST_PAUSE, max(_FIRST_PAUSE, 2 * self._pause))
        self._not_before = now + self._pause * random.uniform(0.8, 1.2)  # noqa: S311  no secret
        self._failure = error if isinstance(error, APIError) else None
        cause = error.message if isinstance(error, APIError) else type(error).__name__
        structlog.get_logger("specserve.watsonx").warning("no new token", cause=cause, again_in=round(self._pause, 1))
