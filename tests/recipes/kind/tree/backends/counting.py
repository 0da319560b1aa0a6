"""Counts letters. A backend of another kind than those that speak or embed."""

from __future__ import annotations

from specserve.backends.base import Backend, Capabilities
from specserve.generated.models import Count, CreateCountRequest


class Counting(Backend):
    """A model that counts."""

    @property
    def capabilities(self) -> Capabilities:
        """It reads both parameters."""
        return Capabilities({"createCount": frozenset({"input", "letter"})})

    async def start(self) -> None:
        """Nothing to load."""

    async def stop(self) -> None:
        """Nothing to unload."""

    async def count(self, request: CreateCountRequest) -> Count:
        """See `Counts`."""
        return Count(object="count", count=request.input.count(request.letter))
