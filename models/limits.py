"""A model's settings against what its backend can do."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from specserve.spec.errors import BackendLoadError

if TYPE_CHECKING:
    from specserve.backends.base import Capabilities, Limits, ModelSettings
    from specserve.models.bounds import Bounds


def check_context(capabilities: Capabilities, limits: Limits) -> None:
    """Check that the backend keeps the operator's limit of the context.

    Raises:
        BackendLoadError: It does not.
    """
    most = limits.context_length
    if most is not None and (capabilities.context_length is None or capabilities.context_length > most):
        message = "its backend cannot keep a limit of 'context_length'"
        raise BackendLoadError(message, key=("limits", "context_length"))


def limited(capabilities: Capabilities, limits: Limits) -> Capabilities:
    """What the model can do, within what the operator lets it."""
    most = (capabilities.max_output_tokens, limits.max_output_tokens)
    return replace(capabilities, max_output_tokens=min((n for n in most if n is not None), default=None))


def admission_limits(limits: Limits, bounds: Bounds) -> tuple[int, int, float]:
    """The arguments of a model's `Admission`."""
    concurrent, queued = limits.max_concurrent_requests, limits.max_queued_requests
    return concurrent or bounds.max_concurrent, bounds.max_queued if queued is None else queued, bounds.max_wait


def engine_part(settings: ModelSettings) -> tuple[object, ...]:
    """The settings that cannot change without loading the model again."""
    return (
        settings.id,
        settings.backend,
        settings.source,
        settings.chat_template,
        settings.options,
        settings.limits.context_length,
    )
