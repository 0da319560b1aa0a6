"""Name -> backend: the one place where backends are named, and what to say about a library that one lacks."""

from __future__ import annotations

import importlib
from collections.abc import Callable

from specserve.backends.base import Backend, ModelSettings
from specserve.backends.sources import Sources, scheme_of
from specserve.spec.errors import BackendLoadError

# Strings, so that naming a backend imports nothing. A stranger's "package.module:callable" works the same way.
BACKENDS: dict[str, str] = {
    "echo": "specserve.backends.echo:Echo",
    "huggingface": "specserve.backends.huggingface:open_model",
    "openvino": "specserve.backends.openvino:open_model",
    "upstream": "specserve.backends.upstream.backend:Upstream",
    "watsonx": "specserve.backends.watsonx:open_model",
}

DEFAULT_BACKEND = "openvino"

COMMANDS: dict[str, str] = {
    "convert": "specserve.backends.openvino.commands:convert",
}
"""Commands below `specserve models` that a backend brings, as strings for the same reason."""

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


def sources(name: str) -> Sources:
    """What a backend of the table says that it loads: `SOURCES` of its package. A stranger's says nothing."""
    target = BACKENDS.get(name)
    if target is None:
        return Sources()
    package = ".".join(target.partition(":")[0].split(".")[:3])
    try:
        found: Sources = getattr(importlib.import_module(package), "SOURCES", Sources())
    except ImportError:  # told when a model needs the backend
        return Sources()
    return found


def backend_for(scheme: str) -> str | None:
    """The backend that loads sources of a scheme, or None; of several it is the default backend."""
    able = [name for name in BACKENDS if scheme in sources(name).schemes]
    return DEFAULT_BACKEND if DEFAULT_BACKEND in able else next(iter(able), None)


def check_scheme(name: str, source: str) -> None:
    """Refuse a source of a scheme that this backend does not load and another does.

    Raises:
        ValueError: The message names the other.
    """
    scheme = scheme_of(source)
    other = backend_for(scheme) if scheme else None
    if name in BACKENDS and other is not None and scheme not in sources(name).schemes:
        raise ValueError(f"backend {name!r} does not load {source!r}; backend {other!r} does")


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
