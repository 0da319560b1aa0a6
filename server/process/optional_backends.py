"""Backends whose libraries are not there: told, and skipped, unless a model needs them."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable

import structlog

from specserve.backends.base import ModelSettings
from specserve.backends.patterns import is_pattern
from specserve.backends.table import BACKENDS, backend_factory, missing_library
from specserve.config.extras import modules_of
from specserve.models.entries import ModelError
from specserve.spec.errors import BackendLoadError


def check(models: Iterable[ModelSettings]) -> None:
    """Look for the libraries of every backend, without importing them.

    Those of models that are loaded or looked for at start are left out: that finds out more than looking does.

    Raises:
        ModelError: A model could not be loaded later.
    """
    used: dict[str, ModelSettings] = {}
    later: dict[str, ModelSettings] = {}
    for model in models:
        (used if model.load in {None, "start"} or is_pattern(model) else later)[model.backend] = model
    log = structlog.get_logger("specserve.backends")
    for backend in BACKENDS:
        if backend in used:
            continue
        problem = _problem(backend)
        if problem is not None and backend in later:
            raise ModelError(later[backend], problem)
        if problem is not None:
            log.info("a backend is not available, and no model needs it", backend=backend, reason=str(problem))


def _problem(backend: str) -> BackendLoadError | None:
    try:
        backend_factory(backend)
    except BackendLoadError as error:
        return error
    except Exception as error:  # noqa: BLE001  whatever a broken module does when it is imported
        return BackendLoadError(f"backend {backend!r} cannot be imported: {' '.join(str(error).split())}")
    for module in sorted(modules_of(backend)):
        if importlib.util.find_spec(module) is None:
            return missing_library(backend, ModuleNotFoundError(name=module))
    return None
