"""IBM's list of foundation models, asked for once where many models are looked up in it at the same time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from specserve.backends.http.kept import Kept

if TYPE_CHECKING:
    from specserve.backends.watsonx.client import Client
    from specserve.backends.watsonx.service_access import ServiceAccess

# For the models that a list has brought in, which start right after. By where the list comes from.
_lists = Kept[Sequence[Any]](60.0)


async def read_list(client: Client, access: ServiceAccess) -> Sequence[Any]:
    """Ask for the list, and keep it for a moment.

    Raises:
        APIError: It could not be read.
    """
    resources = await client.list_models()
    _lists.put((access.url, access.version), resources)
    return resources


async def recent_list(client: Client, access: ServiceAccess) -> Sequence[Any]:
    """The list that was kept; or else the list of now, which is not kept.

    Raises:
        APIError: It could not be read.
    """
    return _lists.get((access.url, access.version)) or await client.list_models()
