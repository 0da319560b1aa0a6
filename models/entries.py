"""The entries of a configuration: models that are named, and those that stand for many (see `patterns.py`)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from specserve.backends.base import Backend, ModelSettings
from specserve.backends.patterns import check_names, is_pattern
from specserve.models.defaults import Defaults
from specserve.spec.errors import BackendLoadError

Make = Callable[[ModelSettings], Backend]
Explain = Callable[[ModelSettings, ImportError], BackendLoadError]


class ModelError(BackendLoadError):
    """What is wrong with one model.

    Attributes:
        entry: The id of the entry of the configuration that it stands in.
    """

    def __init__(self, model: ModelSettings, error: BackendLoadError) -> None:
        super().__init__(f"model {model.id!r}: {error}", key=error.key)
        self.entry = model.entry or model.id


@contextmanager
def attributing_errors_to(model: ModelSettings) -> Iterator[None]:
    """Say of what is wrong in here that it is wrong with this model."""
    try:
        yield
    except BackendLoadError as error:
        raise ModelError(model, error) from error


def split_patterns(entries: Iterable[ModelSettings]) -> tuple[list[ModelSettings], list[ModelSettings]]:
    """Those that are named, and those that stand for many."""
    entries = list(entries)
    return [model for model in entries if not is_pattern(model)], [model for model in entries if is_pattern(model)]


def check(pattern: ModelSettings, make: Make) -> Backend:
    """Make the backend of an entry that stands for many models, which validates its settings.

    Raises:
        ModelError: They are wrong.
    """
    with attributing_errors_to(pattern):
        check_names(pattern)
        Defaults(pattern.defaults, pattern.limits.max_output_tokens)
        return make(pattern)


async def find(
    patterns: Sequence[ModelSettings], make: Make, explain: Explain
) -> tuple[Sequence[ModelSettings], Mapping[str, ModelError]]:
    """Ask for the models that entries stand for, all at once.

    Args:
        patterns: The entries.
        make: Makes a backend.
        explain: Says what to do about a library that is missing.

    Returns:
        The models, in the order of their entries; and why some entries could not tell, by the entries' ids.
    """
    lists = await asyncio.gather(*(_listed(pattern, make, explain) for pattern in patterns))
    found: list[ModelSettings] = []
    missing: dict[str, ModelError] = {}
    for pattern, models in zip(patterns, lists, strict=True):
        if isinstance(models, ModelError):
            missing[pattern.id] = models
        else:
            found += models
    return found, missing


async def _listed(pattern: ModelSettings, make: Make, explain: Explain) -> Sequence[ModelSettings] | ModelError:
    try:
        backend = check(pattern, make)
        with attributing_errors_to(pattern):
            try:
                return await backend.expand()
            except ImportError as error:
                raise explain(pattern, error) from error
            finally:
                await backend.stop()
    except ModelError as error:
        return error
