"""Model id -> backend. The only place outside its own file where a backend's name stands."""

from __future__ import annotations

import asyncio
import importlib
import time
from collections.abc import Callable, Iterator, Sequence

from specserve.backends.admission import Admission
from specserve.backends.base import Backend, ModelSettings
from specserve.backends.errors import BackendLoadError, ModelNotFound

# Strings, so that naming a backend imports nothing. A stranger's "package.module:callable" works the same way.
BACKENDS: dict[str, str] = {
    "echo": "specserve.backends.echo:Echo",
    "openvino": "specserve.backends.openvino:open_model",
    "upstream": "specserve.backends.upstream.backend:Upstream",
}

BackendFactory = Callable[[ModelSettings], Backend]


def backend_factory(name: str) -> BackendFactory:
    """Import the factory behind a backend's name, or behind a full ``package.module:callable``.

    Raises:
        BackendLoadError: There is no such backend, or a library that it needs is not installed.
    """
    target = BACKENDS.get(name, name)
    module_name, _, attribute = target.partition(":")
    if not attribute:
        known = ", ".join(sorted(BACKENDS))
        raise BackendLoadError(f"there is no backend {name!r}; known are {known}, or give 'package.module:callable'")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and module_name.startswith(error.name):
            raise BackendLoadError(f"backend {name!r}: there is no module {module_name!r}") from error
        raise missing_library(name, error) from error
    factory: BackendFactory | None = getattr(module, attribute, None)
    if factory is None:
        raise BackendLoadError(f"backend {name!r}: module {module_name!r} has no {attribute!r}")
    return factory


def missing_library(name: str, error: ModuleNotFoundError) -> BackendLoadError:
    """Say in one line what to install for a backend whose library is missing."""
    hint = f"pip install 'specserve[{name}]'" if name in BACKENDS else f"install {error.name}"
    return BackendLoadError(f"backend {name!r} needs the library {error.name!r}: {hint}")


class ServedModel:
    """One model with its backend and its door."""

    def __init__(self, backend: Backend, admission: Admission) -> None:
        self.backend = backend
        self.admission = admission
        self.created = int(time.time())

    @property
    def id(self) -> str:
        """The name clients use."""
        return self.backend.settings.id


class Registry:
    """The models of this process."""

    def __init__(self, models: Sequence[ModelSettings], *, max_concurrent: int, max_queued: int) -> None:
        """Make the backends, which validates their settings; loads nothing.

        Raises:
            BackendLoadError: A backend is unknown or its settings are wrong.
        """
        self._models: dict[str, ServedModel] = {}
        self._starting: asyncio.Task[None] | None = None
        for settings in models:
            if settings.id in self._models:
                raise BackendLoadError(f"two models have the id {settings.id!r}")
            backend = backend_factory(settings.backend)(settings)
            self._models[settings.id] = ServedModel(backend, Admission(max_concurrent, max_queued))

    def __iter__(self) -> Iterator[ServedModel]:
        return iter(self._models.values())

    def get(self, model_id: str) -> ServedModel:
        """The model a request names.

        Raises:
            ModelNotFound: It is not served here.
        """
        try:
            return self._models[model_id]
        except KeyError:
            raise ModelNotFound("The requested model does not exist.", param="model") from None

    def prepare(self) -> None:
        """Let the backends begin what takes long, while the rest of the server is put together."""
        for model in self:
            model.backend.prepare()

    async def start(self) -> None:
        """Load every model, side by side. Who calls while that goes on waits for the same end.

        Raises:
            BackendLoadError: One could not be loaded; the others are unloaded again.
        """
        if self._starting is None:
            self._starting = asyncio.create_task(self._start())
        await self._starting

    async def _start(self) -> None:
        try:
            async with asyncio.TaskGroup() as loading:
                for model in self:
                    loading.create_task(_load(model))
        except BaseExceptionGroup as errors:
            await self._unload()
            raise errors.exceptions[0] from None
        except BaseException:
            await self._unload()
            raise

    async def stop(self) -> None:
        """Unload every model; one that is still loading is given up."""
        if self._starting is not None and not self._starting.done():
            self._starting.cancel()
            await asyncio.wait([self._starting])
        await self._unload()

    async def _unload(self) -> None:
        for model in self:
            await model.backend.stop()


async def _load(model: ServedModel) -> None:
    try:
        await model.backend.start()
    except ModuleNotFoundError as error:
        raise missing_library(model.backend.settings.backend, error) from error
    except BackendLoadError as error:
        raise BackendLoadError(f"model {model.id!r}: {error}") from error
