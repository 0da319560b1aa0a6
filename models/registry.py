"""Model id -> model: which models are served, and their start, reload and end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from specserve.backends.base import ModelSettings
from specserve.backends.patterns import check_names, with_free_names
from specserve.backends.table import backend_factory, explain_import, make_backend
from specserve.models.budget import LoadBudget
from specserve.models.entries import ModelError, attributing_errors_to, check, find, split_patterns
from specserve.models.served_model import ServedModel
from specserve.spec.errors import BackendLoadError, ModelNotFound, Unavailable

_SECONDS_BETWEEN_LOOKS = 5.0
"""How often it is looked whether models have grown out of the memory they may take."""

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
"""Seconds after which a list of models that could not be had is asked for again; each failure doubles them."""

_log = logging.getLogger("specserve.models")


@dataclass(frozen=True)
class Bounds:
    """What holds for all models of a registry.

    Attributes:
        max_concurrent: Requests in work at once of a model whose settings do not say.
        max_queued: Requests that may wait for a model whose settings do not say.
        max_loaded: Most models in memory; 0 sets no limit.
        max_memory_mb: Most memory for models; 0 sets no limit. See `budget.py`.
    """

    max_concurrent: int = 64
    max_queued: int = 256
    max_loaded: int = 0
    max_memory_mb: int = 0


@dataclass(frozen=True)
class Changes:
    """What another configuration changed, as ids of models.

    Attributes:
        added: Served from now on.
        removed: Served no more.
        replaced: Served from now on with another engine.
    """

    added: Sequence[str]
    removed: Sequence[str]
    replaced: Sequence[str]


class Registry:
    """The models of this process, by id and alias."""

    def __init__(self, models: Sequence[ModelSettings], bounds: Bounds | None = None) -> None:
        """Make the backends, which validates their settings; loads nothing.

        Args:
            models: One of them may stand for many (see `patterns.py`): those are found by `start`.
            bounds: What holds for all.

        Raises:
            ModelError: A backend is unknown, or a model's settings are wrong.
        """
        bounds = bounds or Bounds()
        named, self._patterns = split_patterns(models)
        for pattern in self._patterns:
            check(pattern, make_backend)
        self._models = self._make(named, bounds)
        self._names = _by_name(self._models)
        self._bounds = bounds
        self._budget = LoadBudget(bounds.max_loaded, bounds.max_memory_mb, lambda: [*self, *self._retiring])
        self._retiring: set[ServedModel] = set()
        self._background: set[asyncio.Task[None]] = set()
        self._starting: asyncio.Task[None] | None = None
        self.listeners: list[Callable[[ServedModel], None]] = []  # told of each change of a model's state
        self.survives_failures = False

    def __iter__(self) -> Iterator[ServedModel]:
        return iter(self._models.values())

    @property
    def names(self) -> Mapping[str, ServedModel]:
        """Every name that a request may use, ids first."""
        return self._names

    def get(self, name: str) -> ServedModel:
        """The model a request names, by id or alias.

        Raises:
            ModelNotFound: It is not served here.
        """
        try:
            return self._names[name]
        except KeyError:
            raise ModelNotFound("The requested model does not exist.", param="model") from None

    def prepare(self) -> None:
        """Let the backends begin what takes long, while the rest of the server is put together."""
        for model in self._loaded_at_start():
            model.prepare()

    async def start(self) -> None:
        """Load the models that are loaded at start, side by side. Who calls while that goes on waits for the same end.

        Raises:
            BackendLoadError: One could not be loaded; the others are unloaded again. Not raised if the registry
                `survives_failures`.
        """
        if self._starting is None:
            self._starting = asyncio.create_task(self._start())
        await self._starting

    async def _start(self) -> None:
        self._budget.fixed = True
        try:
            await _all([*map(self._load, self._loaded_at_start()), self._start_found()])
        except BaseException:
            await self._close()
            raise
        self._budget.fixed = False
        self._do(self._watch_memory())

    async def _start_found(self) -> None:
        """Find the models that entries stand for and load them."""
        found, missing = await self._find(self._patterns)
        if missing and not self.survives_failures:
            raise next(iter(missing.values()))
        await _all(map(self._load, self._loaded_at_start(self._add(found))))
        if missing:
            self._do(self._find_later(missing))

    async def _find_later(self, missing: Mapping[str, ModelError]) -> None:
        """Go on asking for lists that could not be had, until they are or there is another configuration."""
        pause, patterns = _FIRST_PAUSE, self._patterns
        for error in missing.values():
            _log.error("%s; it is asked again", error)
        while missing:
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)
            found, missing = await self._find([pattern for pattern in patterns if pattern.id in missing])
            if patterns is not self._patterns:
                return
            for model in self._loaded_at_start(self._add(found)):
                self._do(self._load_later(model))

    async def _find(
        self, patterns: Sequence[ModelSettings]
    ) -> tuple[Sequence[ModelSettings], Mapping[str, ModelError]]:
        return await find(patterns, make_backend, lambda pattern, error: explain_import(pattern.backend, error))

    def _add(self, found: Sequence[ModelSettings]) -> Sequence[ServedModel]:
        """Serve these too, as far as their names are free."""
        added = self._make(with_free_names(found, [model.settings for model in self]), self._bounds)
        self._models = {**self._models, **added}
        self._names = _by_name(self._models)
        return list(added.values())

    async def _load(self, model: ServedModel) -> None:
        with contextlib.suppress(Unavailable, ModelNotFound):  # what went wrong is in the model
            await model.load()
        if model.error is not None and not self.survives_failures:
            if isinstance(model.error, BackendLoadError):
                raise ModelError(model.settings, model.error) from model.error
            raise model.error

    async def stop(self) -> None:
        """Unload every model; one that is still loading is given up."""
        if self._starting is not None and not self._starting.done():
            self._starting.cancel()
            await asyncio.wait([self._starting])
        await self._close()

    async def _close(self) -> None:
        background = list(self._background)
        for task in background:
            task.cancel()
        for model in [*self, *self._retiring]:
            await model.close()
        await asyncio.gather(*background, return_exceptions=True)

    async def reconfigure(self, models: Sequence[ModelSettings], bounds: Bounds) -> Changes:
        """Serve other models from now on. What stays the same is not touched; what goes finishes its requests first.

        Models that entries stand for are found anew. Must not be called again before it has returned.

        Raises:
            ModelError: As for the constructor, or a list of models cannot be had; nothing has changed then.
        """
        named, patterns = split_patterns(models)
        found, missing = await self._find(patterns)
        if missing:
            raise next(iter(missing.values()))
        before, now = self._models, self._make([*named, *with_free_names(found, named)], bounds)
        for model_id, new in now.items():
            old = before.get(model_id)
            if old is not None and old.takes(new.settings):
                old.adopt(new, bounds.max_concurrent, bounds.max_queued)
                now[model_id] = old
        names = _by_name(now)
        self._models, self._names, self._bounds, self._patterns = now, names, bounds, patterns
        self._budget.max_models, self._budget.max_memory_mb = bounds.max_loaded, bounds.max_memory_mb
        for model in set(before.values()) - set(now.values()):
            self._retiring.add(model)
            self._do(self._retire(model))
        for model in self._loaded_at_start():
            if model.state == "failed" or model not in before.values():
                self._do(self._load_later(model))
        return Changes(
            added=sorted(now.keys() - before.keys()),
            removed=sorted(before.keys() - now.keys()),
            replaced=sorted(key for key in now.keys() & before.keys() if now[key] is not before[key]),
        )

    async def _retire(self, model: ServedModel) -> None:
        await model.retire()
        self._retiring.discard(model)

    async def _load_later(self, model: ServedModel) -> None:
        with contextlib.suppress(Unavailable, ModelNotFound):  # the model's state says it, and its listeners know
            await model.load()

    async def _watch_memory(self) -> None:
        while True:
            await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)
            await self._budget.shrink()

    def _do(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def _loaded_at_start(self, models: Iterable[ServedModel] | None = None) -> list[ServedModel]:
        models = self if models is None else models
        return [model for model in models if model.settings.load in {None, "start"}]

    def _make(self, models: Sequence[ModelSettings], bounds: Bounds) -> dict[str, ServedModel]:
        made: dict[str, ServedModel] = {}
        for settings in models:
            if settings.id in made:
                raise ModelError(settings, BackendLoadError("two models have this id", key=("id",)))
            with attributing_errors_to(settings):
                check_names(settings)
                factory = backend_factory(settings.backend)
                made[settings.id] = ServedModel(settings, factory, self, bounds.max_concurrent, bounds.max_queued)
        _by_name(made)
        return made

    # What models ask of their host: see `served_model.LifecycleHost`.

    def within_budget(self, model: ServedModel) -> AbstractAsyncContextManager[None]:
        """The context to load a model in."""
        return self._budget.admitted(model)

    def changed(self, model: ServedModel) -> None:
        """Pass on that a model is in another state. A listener that fails changes nothing about that."""
        for listener in self.listeners:
            try:
                listener(model)
            except Exception:  # noqa: BLE001  whatever a listener raises, the model is in its new state
                _log.exception("a listener failed on the state of model %r", model.id)

    def explain(self, model: ServedModel, error: Exception) -> Exception:
        """Say what to do about a library that is missing."""
        return explain_import(model.settings.backend, error) if isinstance(error, ImportError) else error


async def _all(works: Iterable[Coroutine[None, None, None]]) -> None:
    """Do these side by side; the first that fails ends the others."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        for task in asyncio.as_completed(tasks):
            await task
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _by_name(models: Mapping[str, ServedModel]) -> dict[str, ServedModel]:
    names = dict(models)
    for model in models.values():
        for alias in model.settings.aliases:
            if alias in names:
                message = f"the alias {alias!r} is the name of another model"
                raise ModelError(model.settings, BackendLoadError(message, key=("aliases",)))
            names[alias] = model
    return names
