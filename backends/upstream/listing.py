"""The list of models that an upstream gives, for entries that stand for many of them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from specserve.backends.upstream.capabilities import listed
from specserve.backends.upstream.client import ConnectionFailed, TooLarge
from specserve.spec.errors import BackendLoadError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from specserve.backends.upstream.client import Client

_WITHIN = 10.0  # seconds
_LARGEST = 8 * 1024 * 1024  # bytes


async def common_names(client: Client, urls: Sequence[str]) -> Sequence[str]:
    """The names that all addresses list which answer, in the order of the first: they stand in for one another.

    Raises:
        BackendLoadError: None answers with a list.
    """
    answers = await asyncio.gather(*(_names(client, url) for url in urls))
    lists = [names for names in answers if not isinstance(names, str)]
    if not lists:
        problems = "; ".join(f"{url}: {answer}" for url, answer in zip(urls, answers, strict=True))
        raise BackendLoadError(f"the upstream does not tell its models: {problems}")
    return [name for name in lists[0] if all(name in names for names in lists)]


async def _names(client: Client, url: str) -> Sequence[str] | str:
    """The names that one address lists, or why there are none."""
    try:
        async with await client.get(f"{url}/models", _WITHIN) as reply:
            if reply.status != 200:
                return f"it answers {reply.status}"
            body = await reply.read_all(_LARGEST, _WITHIN)
    except ConnectionFailed as error:
        return str(error)
    except TooLarge:
        return "its list is too large"
    return list(listed(body)) or "its list is empty, or is not understood"
