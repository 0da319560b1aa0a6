"""The models of this server: their start, their end, and what they become when the configuration changes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

from specserve.backends.patterns import with_free_names
from specserve.backends.table import explain_import, make_backend
from specserve.models.background import Background, side_by_side
from specserve.models.bounds import Bounds
from specserve.models.budget import LoadBudget
from specserve.models.catalogue import Catalogue
from specserve.models.entries import ModelError, check, find, split_patterns
from specserve.models.reconfigure import Changes, swap
from specserve.spec.errors import BackendLoadError, ModelNotFound, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from specserve.backends.base import ModelSettings
    from specserve.models.served_model import ServedModel

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
"""Seconds after which a list of models that could not be had is asked for again; each failure doubles them."""

_log = logging.getLogger("specserve.models")


class Registry:
    """The models of this process, by id and alias. The host of each of them; see `host.py`.

    Attributes:
        listeners: Called with a model each time that it is in another state.
        survives_failures: Whether `start` goes on when a model cannot be loaded.
    """

    def __init__(self, models: Sequence[ModelSettings], bounds: Bounds | None = None) -> None:
        """Make the backends, which validates their settings; loads nothing.

        Args:
            models: One of them may stand for many (see `patterns.py`): those are found by `start`.
            bounds: What holds for all.

        Raises:
            ModelError: A backend is unknown, or a model's settings are wrong.
        """
        self._bounds = bounds or Bounds()
        named, self._patterns = split_patterns(models)
        for pattern in self._patterns:
            check(pattern, make_backend)
        self._catalogue = Catalogue.build(named, self._bounds, self)
        self._budget = LoadBudget(self._bounds, lambda: [*self, *self._retiring])
        self._retiring: set[ServedModel] = set()
        self._background = Background()
        self._starting: asyncio.Task[None] | None = None
        self._stopped = False
        self.listeners: list[Callable[[ServedModel], None]] = []
        self.survives_failures = False

    def __iter__(self) -> Iterator[ServedModel]:
        return iter(self._catalogue)

    @property
    def names(self) -> Mapping[str, ServedModel]:
        """Every name that a request may use, ids first."""
        return self._catalogue.names

    def get(self, name: str) -> ServedModel:
        """The model a request names; see `Catalogue.get`."""
        return self._catalogue.get(name)

    def pass_through(self, name: object) -> frozenset[str]:
        """The parameters outside the contract that the model which a request names takes; none if there is no such."""
        try:
            return self._catalogue.get(name).settings.pass_through if isinstance(name, str) else frozenset()
        except ModelNotFound:
            return frozenset()

    def prepare(self) -> None:
        """Let the backends begin what takes long, while the rest of the server is put together."""
        for model in _loaded_at_start(self):
            model.prepare()

    # ----------------------------------------------------------------------------------------------------- start

    async def start(self) -> None:
        """Load the models that are loaded at start, side by side. Whoever calls it meanwhile waits for the same end.

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
            await side_by_side([*map(self._load, _loaded_at_start(self)), self._start_found()])
        except BaseException:
            await self._close()
            raise
        self._budget.fixed = False
        self._background.begin(self._budget.watch(), "watch the memory of models")

    async def _start_found(self) -> None:
        """Find the models that entries stand for and load them."""
        found, missing = await self._find(self._patterns)
        if missing and not self.survives_failures:
            raise next(iter(missing.values()))
        await side_by_side([*map(self._load, _loaded_at_start(self._add(found)))])
        if missing:
            self._background.begin(self._find_later(missing), "find models")

    async def _find_later(self, missing: Mapping[str, ModelError]) -> None:
        """Go on asking for lists that could not be had, until they are or there is another configuration."""
        pause, patterns = _FIRST_PAUSE, self._patterns
        for error in missing.values():
            _log.error("%s; it is asked again", error)
        while missing:
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)
            found, still_missing = await self._find([pattern for pattern in patterns if pattern.id in missing])
            if patterns is not self._patterns:
                return
            try:
                added = self._add(found)
            except ModelError as error:
                _log.error("%s; the list that has it is asked for again", error)
                continue
            missing = still_missing
            self._load_later(_loaded_at_start(added))

    async def _find(
        self, patterns: Sequence[ModelSettings]
    ) -> tuple[Sequence[ModelSettings], Mapping[str, ModelError]]:
        return await find(patterns, make_backend, lambda pattern, error: explain_import(pattern.backend, error))

    def _add(self, found: Sequence[ModelSettings]) -> Sequence[ServedModel]:
        """Serve these too, as far as their names are free."""
        before = set(self)
        self._catalogue = self._catalogue.with_found(found, self._bounds, self)
        return [model for model in self if model not in before]

    async def _load(self, model: ServedModel) -> None:
        with contextlib.suppress(Unavailable, ModelNotFound):  # what went wrong is in the model
            await model.load()
        if model.error is not None and not self.survives_failures:
            if isinstance(model.error, BackendLoadError):
                raise ModelError(model.settings, model.error) from model.error
            raise model.error

    def _load_later(self, models: Iterable[ServedModel]) -> None:
        for model in models:
            self._background.begin(_loaded(model), f"load {model.id}")

    # ------------------------------------------------------------------------------------------------------- end

    async def stop(self) -> None:
        """Unload every model; one that is still loading is given up. May be called twice."""
        if self._stopped:
            return
        if self._starting is not None and not self._starting.done():
            self._starting.cancel()
            await asyncio.wait([self._starting])
        await self._close()
        self._stopped = True

    async def _close(self) -> None:
        cancelled = self._background.cancel()
        await asyncio.gather(cancelled, *(model.close() for model in [*self, *self._retiring]))

    # ------------------------------------------------------------------------------------- another configuration

    async def reconfigure(self, models: Sequence[ModelSettings], bounds: Bounds) -> Changes:
        """Serve other models from now on. What stays the same is not touched; what goes finishes its requests first.

        Models that entries stand for are found anew. Must not be called again before it has returned.

        Raises:
            ModelError: As for the constructor, or a list of models cannot be had, or a loaded model cannot keep its
                new settings; nothing has changed then.
        """
        named, patterns = split_patterns(models)
        found, missing = await self._find(patterns)
        if missing:
            raise next(iter(missing.values()))
        every = [*named, *with_free_names(found, named)]
        step = swap(self._catalogue, Catalogue.build(every, bounds, self))
        self._catalogue, self._bounds, self._patterns = step.after, bounds, patterns
        self._budget.bounds = bounds
        for model in step.ended:
            self._retiring.add(model)
            self._background.begin(self._retire(model), f"retire {model.id}")
        failed = [model for model in self if model.state == "failed" and model not in step.begun]
        self._load_later(_loaded_at_start([*step.begun, *failed]))
        self._background.begin(self._budget.shrink(drain=True), "keep to the new limits")
        return step.changes

    async def _retire(self, model: ServedModel) -> None:
        await model.retire()
        self._retiring.discard(model)

    # --------------------------------------------------------- what models ask of their host: see `LifecycleHost`

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


def _loaded_at_start(models: Iterable[ServedModel]) -> list[ServedModel]:
    return [model for model in models if model.settings.load in {None, "start"}]


async def _loaded(model: ServedModel) -> None:
    with contextlib.suppress(Unavailable, ModelNotFound):  # the model's state says it, and its listeners know
        await model.load()
