"""How many bytes of request bodies the server holds at the same time."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from specserve.http.off_loop import LARGE_BODY_BYTES
from specserve.spec.errors import Overloaded

_RETRY_AFTER_SECONDS = 1


class BodiesInFlight:
    """Counts the bytes of the bodies that are being received or worked on, and refuses more than a limit.

    Only bytes that came are counted, not those that were announced. Small bodies have a share of their own, of the same
    size, so that clients with large ones cannot crowd out those with small ones.

    Args:
        limit: Most bytes, of the small bodies and of the large ones.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._small = self._large = 0

    def room(self) -> BodyRoom:
        """The room of one body, to be entered for as long as the body, or what was made of it, is held."""
        return BodyRoom(self)

    def move(self, before: int, after: int) -> None:
        """Count a body that grows, or goes.

        Raises:
            Overloaded: There is no room for it; then it is counted as before.
        """
        if after > before:
            used = self._small if after <= LARGE_BODY_BYTES else self._large
            counted = before if (before <= LARGE_BODY_BYTES) == (after <= LARGE_BODY_BYTES) else 0
            if used - counted + after > self._limit:
                raise Overloaded("The server holds as many request bodies as it can.", retry_after=_RETRY_AFTER_SECONDS)
        self._count(before, -1)
        self._count(after, 1)

    def _count(self, size: int, sign: int) -> None:
        if size <= LARGE_BODY_BYTES:
            self._small += sign * size
        else:
            self._large += sign * size


class BodyRoom:
    """One body's part of what is held. Leaving it gives it back."""

    __slots__ = ("_bodies", "_size")

    def __init__(self, bodies: BodiesInFlight) -> None:
        self._bodies = bodies
        self._size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bodies.move(self._size, 0)
        self._size = 0

    def grow(self, size: int) -> None:
        """Say how many bytes the body has by now.

        Raises:
            Overloaded: There is no room for so many.
        """
        self._bodies.move(self._size, size)
        self._size = size
