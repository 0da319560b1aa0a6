"""What holds for all models of a server together."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Bounds:
    """What holds for all models of a registry. Times are in seconds; 0 sets no limit.

    Attributes:
        max_concurrent: Requests in work at once of a model whose settings do not say.
        max_queued: Requests that may wait for a model whose settings do not say.
        max_loaded: Most models in memory; 0 sets no limit.
        max_memory_mb: Most memory for models; 0 sets no limit. See `budget.py`.
        max_wait: How long a request waits for its model to be loaded, and again for a slot.
        load_timeout: How long a load takes at most.
        drain: How long the requests of a model that is to be unloaded go on; then they are ended. Here 0 ends them at
            once.
    """

    max_concurrent: int = 64
    max_queued: int = 256
    max_loaded: int = 0
    max_memory_mb: int = 0
    max_wait: float = 600
    load_timeout: float = 3600
    drain: float = 120
