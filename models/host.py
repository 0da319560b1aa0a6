"""What a model asks of the registry that it belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from specserve.models.served_model import ServedModel


class LifecycleHost(Protocol):
    """A registry, as a model sees it."""

    def within_budget(self, model: ServedModel) -> AbstractAsyncContextManager[None]:
        """The context to load the model in; see `LoadBudget.admitted`."""

    def changed(self, model: ServedModel) -> None:
        """Hear that the model is in another state."""

    def explain(self, model: ServedModel, error: Exception) -> Exception:
        """Say what to do about what ended a load, if that can be said."""
