"""Name -> backend: the one table of backends, and what to say about a library that one lacks."""

from __future__ import annotations

import importlib
from collections.abc import Callable

from specserve.backends.base import Backend, ModelSettings
from specserve.spec.errors import BackendLoadError

# Strings, so that naming a backend imports nothing. A stranger's "package.module:callable" works the same way.
BACKENDS: dict[str, str] = {
    "echo": "specserve.backends.echo:Echo",
    "huggingface": "specserve.backends.huggingface:open_model",
    "openvino": "specserve.backends.openvino:open_model",
    "upstream": "specserve.backends.upstream.backend:Upstream",
    "watsonx": "specserve.backends.watsonx:open_model",
}

BackendFactory = Callable[[ModelSettings], Backend]


def backend_factory(name: str) -> BackendFactory:
    """Import the factory behind a backend's name, or behind a full ``package.module:callable``.

    Raises:
        BackendLoadError: There is no such backend, or a library that it needs is not installed.
    """
    key = ("backend",)
    target = BACKENDS.get(name, name)
    module_name, _, attribute = target.partition(":")
    if not attribute:
        known = ", ".join(sorted(BACKENDS))
        raise BackendLoadError(
            f"there is no backend {name!r}; known are {known}, or give 'package.module:callable'", key=key
        )
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and module_name.startswith(error.name):
            raise BackendLoadError(f"backend {name!r}: there is no module {module_name!r}", key=key) from error
        raise missing_library(name, error) from error
    factory: BackendFactory | None = getattr(module, attribute, None)
    if factory is None:
        raise BackendLoadError(f"backend {name!r}: module {module_name!r} has no {attribute!r}", key=key)
    return factory


def missing_library(name: str, error: ModuleNotFoundError) -> BackendLoadError:
    """Say in one line what to install for a backend whose library is missing."""
    hint = f"pip install 'specserve[{name}]'" if name in BACKENDS else f"install {error.name}"
    return BackendLoadError(f"backend {name!r} needs the library {error.name!r}: {hint}")


def explain_import(name: str, error: ImportError) -> BackendLoadError:
    """Say in one line what to do about a backend whose library is missing, or is there and cannot be imported."""
    if isinstance(error, ModuleNotFoundError):
        return missing_library(name, error)
    return BackendLoadError(f"backend {name!r}: a library of it is broken: {' '.join(str(error).split())}")


def make_backend(settings: ModelSettings) -> Backend:
    """Make the backend of one model, which validates its settings and loads nothing."""
    return backend_factory(settings.backend)(settings)
