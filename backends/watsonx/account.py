"""One IBM Cloud API key: its tokens, shared by all models that use it."""

from __future__ import annotations

import asyncio
import json
import random
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from pydantic import SecretStr

from specserve.backends.http.connections import ConnectionFailed, Connections, TooLarge
from specserve.backends.http.decoding import CannotDecode
from specserve.backends.watsonx.client import connection_failure
from specserve.backends.watsonx.failures import read_problem
from specserve.backends.watsonx.tokens import Token, Tokens
from specserve.spec.errors import APIError, BadGateway, UpstreamBreach, UpstreamRefused, UpstreamUnreachable

if TYPE_CHECKING:
    from specserve.backends.watsonx.service_access import ServiceAccess

_GRANT = "urn:ibm:params:oauth:grant-type:apikey"
_LARGEST_ANSWER = 256 * 1024  # bytes
_WHO = "IBM Cloud IAM"
_CONNECT_WITHIN, _WITHIN = 10.0, 40.0  # seconds, for a connection and for an answer
_ATTEMPTS = 3
_PAUSE = 0.25  # seconds before the second attempt, more or less; doubled with each

# Of each event loop, by where tokens come from and the key. Models are made one by one and know nothing of each other;
# what they share hangs on the loop that they live on, and is gone with it.
_accounts: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[str, SecretStr], Account]] = WeakKeyDictionary()


class Account:
    """The tokens of one key. Get it with `join`, give it back with `leave`."""

    def __init__(self, access: ServiceAccess) -> None:
        self._url = access.token_url
        self._api_key = access.api_key
        self._connections = Connections(headers={}, connect_timeout=_CONNECT_WITHIN)
        self._users = 0
        self.tokens = Tokens(self._fetch)

    @classmethod
    def join(cls, access: ServiceAccess) -> Account:
        """The account of an access's key, made for the first model that needs it."""
        accounts = _accounts.setdefault(asyncio.get_running_loop(), {})
        account = accounts.get((access.token_url, access.api_key))
        if account is None:
            account = accounts[access.token_url, access.api_key] = cls(access)
        account._users += 1
        return account

    async def leave(self) -> None:
        """Say that one model needs it no more; the last closes it."""
        self._users -= 1
        if self._users == 0:
            _accounts[asyncio.get_running_loop()].pop((self._url, self._api_key), None)
            await self.tokens.close()
            await self._connections.close()

    async def _fetch(self) -> Token:
        """Ask IAM for a token. What fails for lack of a connection, or because IAM failed, is tried again."""
        for attempt in range(_ATTEMPTS - 1):
            try:
                return await self._ask()
            except UpstreamRefused:
                raise
            except BadGateway:
                await asyncio.sleep(_PAUSE * 2**attempt * random.uniform(0.5, 1.5))  # noqa: S311  no secret
        return await self._ask()

    async def _ask(self) -> Token:
        form = {"grant_type": _GRANT, "apikey": self._api_key.get_secret_value()}
        try:
            async with await self._connections.request(
                "POST",
                self._url,
                within=_WITHIN,
                total=_WITHIN,
                data=form,
                headers={"Accept": "application/json"},
            ) as response:
                body = await response.read_all(_LARGEST_ANSWER, _WITHIN)
        except ConnectionFailed as failed:
            raise connection_failure(failed, who=_WHO) from None
        except (TooLarge, CannotDecode):
            raise UpstreamBreach(f"{_WHO} sent no token.") from None
        if response.status == 200:
            return _read_token(body)
        raise _refusal(response.status, body)


def _read_token(body: bytes) -> Token:
    try:
        said = json.loads(body)
        value, lifetime = said["access_token"], float(said["expires_in"])
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        raise UpstreamBreach(f"{_WHO} sent no token.") from None
    if not isinstance(value, str) or not value.isascii() or not value.isprintable() or not lifetime > 0:
        raise UpstreamBreach(f"{_WHO} sent no token.")
    return Token(value, lifetime)


def _refusal(status: int, body: bytes) -> APIError:
    problem = read_problem(status, body)
    if status in {400, 401, 403}:
        code = f" ({problem.code})" if problem.code.isalnum() else ""
        return UpstreamRefused(f"{_WHO} does not accept the API key of this server{code}.")
    return UpstreamUnreachable(f"{_WHO} gives no tokens at the moment: it answers {status}.")
