"""Models on PyTorch and transformers: text with transformers' own continuous batching, embeddings with `AutoModel`.

`worker.py` is a process of its own and starts from this package, so this file imports nothing large at its top.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from specserve.backends.sources import Sources

if TYPE_CHECKING:
    from specserve.backends.base import Backend, ModelSettings


SOURCES = Sources(schemes=frozenset({"hf", "pypi"}), suffixes=frozenset({".gguf"}))


def open_model(settings: ModelSettings) -> Backend:
    """Make the backend of a model. What kind of model it is shows when its source is at hand, at the start.

    Raises:
        BackendLoadError: The source or an option is wrong.
        ModuleNotFoundError: A library is missing.
    """
    from specserve.backends.huggingface.backend import HuggingFace

    return HuggingFace(settings)
