"""The list of models that an upstream gives."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from specserve.backends.http.connections import ConnectionFailed, TooLarge
from specserve.backends.http.decoding import CannotDecode
from specserve.backends.http.kept import Kept
from specserve.backends.upstream.exchange import parse
from specserve.spec.errors import BackendLoadError, UpstreamBreach

if TYPE_CHECKING:
    from specserve.backends.http.connections import Connections, Reply

LARGEST_LIST = 16 * 1024 * 1024  # bytes
WITHIN = 10.0  # seconds

Entries = Mapping[str, Mapping[str, Any]]
"""The entries of a list by the ids of their models."""

# For the models that a pattern stands for, thousands perhaps, which all start right after it was read. By address and
# account.
recent_lists = Kept[Entries](60.0)


async def get_models(connections: Connections, url: str) -> Reply:
    """Ask for the list.

    Raises:
        ConnectionFailed: No answer came.
    """
    return await connections.request("GET", f"{url}/models", within=WITHIN, total=WITHIN)


def read_list(body: bytes) -> Entries:
    """Read the list; it is empty if it cannot be read."""
    try:
        listed = parse(body)
    except UpstreamBreach:
        return {}
    data = listed.get("data") if isinstance(listed, dict) else None
    entries = data if isinstance(data, list) else []
    if not all(isinstance(entry, dict) and isinstance(entry.get("id"), str) for entry in entries):
        return {}
    return {entry["id"]: entry for entry in entries}


async def common_names(connections: Connections, urls: Sequence[str], account: Hashable) -> Sequence[str]:
    """The names that all addresses list which answer, in the order of the first: they stand in for one another.

    The lists are kept for a moment in `recent_lists`, by address and account.

    Raises:
        BackendLoadError: None answers with a list.
    """
    answers = await asyncio.gather(*(_read(connections, url) for url in urls))
    lists: list[Entries] = []
    for url, answer in zip(urls, answers, strict=True):
        if not isinstance(answer, str):
            recent_lists.put((url, account), answer)
            lists.append(answer)
    if not lists:
        problems = "; ".join(f"{url}: {answer}" for url, answer in zip(urls, answers, strict=True))
        raise BackendLoadError(f"the upstream does not list its models: {problems}")
    return [name for name in lists[0] if all(name in entries for entries in lists)]


async def _read(connections: Connections, url: str) -> Entries | str:
    """The list of one address, or why there is none."""
    try:
        async with await get_models(connections, url) as reply:
            if reply.status != 200:
                return f"it answers {reply.status}"
            body = await reply.read_all(LARGEST_LIST, WITHIN)
    except ConnectionFailed as error:
        return str(error)
    except TooLarge:
        return "its list is too large"
    except CannotDecode as error:
        return f"its list is {error}"
    return read_list(body) or "its list is empty, or cannot be read"
