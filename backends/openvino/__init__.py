"""Local models on OpenVINO: text by OpenVINO GenAI's continuous batching, embeddings by plain OpenVINO.

`worker.py` is a process of its own and starts from this package, so this file imports nothing large at its top.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from specserve.backends.sources import Sources

if TYPE_CHECKING:
    from specserve.backends.base import Backend, ModelSettings


SOURCES = Sources(schemes=frozenset({"pypi"}), suffixes=frozenset({".gguf", ".xml"}))


def open_model(settings: ModelSettings) -> Backend:
    """Make the backend that a model's source asks for: a BERT makes embeddings, anything else makes text.

    Raises:
        BackendLoadError: There is nothing at the source that OpenVINO could load, or an option is wrong.
    """
    from specserve.backends.openvino.model_files import makes_embeddings

    if makes_embeddings(settings.source):
        from specserve.backends.openvino.embeddings import OpenVINOEmbeddings

        return OpenVINOEmbeddings(settings)
    from specserve.backends.openvino.text import OpenVINOText

    return OpenVINOText(settings)
