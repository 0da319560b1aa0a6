"""IBM's list of foundation models, asked for once where many models are looked up in it at the same time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from collections.abc import Sequence

    from specserve.backends.watsonx.client import Client
    from specserve.backends.watsonx.place import Place

_KEPT_FOR = 60.0  # seconds: for the models that a list has brought in, which start right after

# Of each event loop, by where the list comes from.
_lists: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[str, str], Sequence[Any]]] = WeakKeyDictionary()


async def read_list(client: Client, place: Place) -> Sequence[Any]:
    """Ask for the list, and keep it for a moment.

    Raises:
        APIError: It could not be read.
    """
    loop = asyncio.get_running_loop()
    lists, key = _lists.setdefault(loop, {}), (place.url, place.version)
    resources = lists[key] = await client.list_models()

    def forget() -> None:
        if lists.get(key) is resources:
            del lists[key]

    loop.call_later(_KEPT_FOR, forget)
    return resources


async def recent_list(client: Client, place: Place) -> Sequence[Any]:
    """The list that was kept, or that of now, which is not kept: who starts alone asks alone.

    Raises:
        APIError: It could not be read.
    """
    lists = _lists.get(asyncio.get_running_loop(), {})
    return lists.get((place.url, place.version)) or await client.list_models()
