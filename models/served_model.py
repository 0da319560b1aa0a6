"""One model and its life: unloaded, loading, loaded, unloading, failed.

    unloaded ──load──> loading ──> loaded ──unload──> unloading ──(no lease left)──> unloaded
                          └──────> failed ──load──> loading

A request takes a lease before it touches the backend and gives it back when its answer is out, or its client is gone.
A model is unloaded when nobody holds one. Loading and unloading run in a task of the model's own, which the client that
caused it does not take along when it leaves; whoever else wants the same waits for that task.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NoReturn, Protocol

from specserve.backends.abilities import check_declared
from specserve.backends.base import Activity
from specserve.models.admission import Admission
from specserve.models.defaults import Defaults
from specserve.spec.errors import BackendLoadError, ModelNotFound, Overloaded, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from contextlib import AbstractAsyncContextManager

    from specserve.backends.base import Backend, Capabilities, ModelSettings
    from specserve.generated.models import ModelState
    from specserve.spec.errors import APIError

_log = logging.getLogger("specserve.models")

_USABLE = frozenset({"loaded", "unloading"})
"""The states in which whoever holds a lease can use the backend."""

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
"""Seconds after which a request has a failed load tried again; each failure doubles them."""


class LifecycleHost(Protocol):
    """What a model asks of the registry that it belongs to."""

    def within_budget(self, model: ServedModel) -> AbstractAsyncContextManager[None]:
        """The context to load the model in; see `LoadBudget.admitted`."""

    def changed(self, model: ServedModel) -> None:
        """Be told that the model is in another state."""

    def explain(self, model: ServedModel, error: Exception) -> Exception:
        """Say what to do about what ended a load, if that can be said."""


class ServedModel:
    """One model with its backend and its door. Lives on one event loop."""

    def __init__(
        self,
        settings: ModelSettings,
        factory: Callable[[ModelSettings], Backend],
        host: LifecycleHost,
        max_concurrent: int,
        max_queued: int,
    ) -> None:
        """Make the backend, which validates the model's settings; loads nothing.

        Args:
            settings: What the operator said of it.
            factory: Makes its backend, now and for each time that it is loaded again.
            host: The registry.
            max_concurrent: Requests in work at once, if the settings do not say.
            max_queued: Requests that may wait, if the settings do not say.

        Raises:
            BackendLoadError: The settings are wrong.
        """
        self.settings = settings
        self.created = int(time.time())
        self.capabilities: Capabilities | None = None
        self.error: Exception | None = None
        self.in_budget = False
        self.last_used = 0.0
        self.last_size = 0
        self._host = host
        self.defaults = Defaults(settings.defaults, settings.limits.max_output_tokens)
        self._factory = factory
        self._unused: Backend | None = factory(settings)
        self._backend: Backend | None = None
        self._state: ModelState = "unloaded"
        self._transition: asyncio.Task[None] | None = None
        self._leases = 0
        self._no_lease = asyncio.Event()
        self._no_lease.set()
        self._waiting = 0
        self._refusal: Callable[[], APIError] | None = None
        self._retry_at = 0.0
        self._pause = _FIRST_PAUSE
        self._idle: asyncio.TimerHandle | None = None
        self.admission = Admission(*self._admission_limits(max_concurrent, max_queued))

    # ------------------------------------------------------------------------------------------------ what it is

    @property
    def id(self) -> str:
        """The name clients use."""
        return self.settings.id

    @property
    def state(self) -> ModelState:
        """Where it is in its life."""
        return self._state

    @property
    def backend(self) -> Backend:
        """The loaded backend; of use to whoever holds a lease.

        Raises:
            Unavailable: It is not loaded.
        """
        if self._backend is None:
            raise Unavailable("The model is not loaded.")
        return self._backend

    @property
    def activity(self) -> Activity:
        """What its engine is doing now; nothing if it is not loaded."""
        return self._backend.activity() if self._backend and self._state in _USABLE else Activity()

    @property
    def processes(self) -> Sequence[int]:
        """Where its engine runs; see `Backend.processes`."""
        return self._backend.processes() if self._backend else ()

    @property
    def in_use(self) -> bool:
        """Whether a request holds a lease."""
        return self._leases > 0

    @property
    def waiting(self) -> int:
        """Requests that wait for the model to be loaded, or for a slot."""
        return self.admission.waiting + self._waiting

    @property
    def load_error(self) -> str | None:
        """Why it could not be loaded, in words for clients; None in any other state than `failed`."""
        if self._state != "failed" or self.error is None:
            return None
        if isinstance(self.error, BackendLoadError):
            return str(self.error)
        return "the backend failed in a way that it does not explain; the server's log has more"

    def prepare(self) -> None:
        """Let the backend begin what takes long, before there is an event loop."""
        if self._unused is not None:
            self._unused.prepare()

    # ---------------------------------------------------------------------------------------------------- leases

    def try_lease(self) -> bool:
        """Take a lease if that needs no waiting."""
        if self._state != "loaded" or self._refusal is not None:
            return False
        self._take()
        return True

    async def lease(self) -> None:
        """Take a lease, having the model loaded first if it is not and requests may do that. Ends with `release`.

        Raises:
            Unavailable: It is not loaded and is loaded by hand only, could not be loaded, or the server stops.
            Overloaded: As many as the model's queue can hold wait already.
            ModelNotFound: It was taken out of the configuration.
        """
        while self._state == "unloading":
            self._check_served()
            if self.settings.load == "manual":
                self._refuse_unloaded()
            await self._wait()
        self._take()
        try:
            while self._state not in _USABLE:
                self._check_served()
                if self._state != "loading":
                    self._load_for_request()
                await self._wait()
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Give a lease back."""
        self._leases -= 1
        self.last_used = time.monotonic()
        if not self._leases:
            self._no_lease.set()
            self._watch_idleness()

    def _take(self) -> None:
        self._leases += 1
        self._no_lease.clear()
        self.last_used = time.monotonic()
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    def _load_for_request(self) -> None:
        if self.settings.load == "manual":
            self._refuse_unloaded()
        pause = self._retry_at - time.monotonic()
        if self._state == "failed" and pause > 0:
            raise Unavailable(f"The model could not be loaded: {self.load_error}", retry_after=max(1, round(pause)))
        self._begin("loading", self._load())

    def _refuse_unloaded(self) -> NoReturn:
        if self._state == "failed":
            raise Unavailable(f"The model could not be loaded: {self.load_error}")
        raise Unavailable("The model is not loaded; it is loaded by the server's operator only.")

    def _check_served(self) -> None:
        if self._refusal is not None:
            raise self._refusal()

    async def _wait(self) -> None:
        """Wait, as a request, for the end of what the model is doing now."""
        if self._waiting >= self.admission.capacity:
            raise Overloaded("The model is being loaded, and its queue is full. Please try again later.", retry_after=5)
        self._waiting += 1
        try:
            await self.settled()
        finally:
            self._waiting -= 1

    # ----------------------------------------------------------------------------------------------- transitions

    async def load(self) -> None:
        """Load it, whatever its policy; return when it is loaded.

        Raises:
            Unavailable: It could not be loaded; the message holds the cause.
            ModelNotFound: It was taken out of the configuration.
        """
        while self._state == "unloading":
            await self.settled()
        self._check_served()
        if self._state in {"unloaded", "failed"}:
            self._begin("loading", self._load())
        if self._state == "loading":
            await self.settled()
        self._check_served()
        if self.load_error is not None:
            raise Unavailable(f"The model could not be loaded: {self.load_error}")

    async def unload(self) -> None:
        """Let those who hold a lease finish, and unload it; return when that is done."""
        while self._state == "loading":
            await self.settled()
        if self._state == "loaded":
            self._begin("unloading", self._unload())
        if self._state == "unloading":
            await self.settled()

    async def retire(self) -> None:
        """Unload it as `unload` does, and never load it again: it is served no more."""
        self._refusal = partial(ModelNotFound, "The requested model does not exist.", param="model")
        await self.unload()

    async def close(self) -> None:
        """Unload it at once, whoever uses it: the server stops."""
        self._refusal = partial(Unavailable, "The server is shutting down.", retry_after=5)
        if self._idle is not None:
            self._idle.cancel()
        if self._transition is not None and not self._transition.done():
            self._transition.cancel()
            await asyncio.wait([self._transition])
        await self._give_back()
        self._enter("unloaded")

    async def settled(self) -> None:
        """Wait for the transition that is under way. Leaves it alone when the one who waits is cancelled."""
        if self._transition is not None:
            await asyncio.wait([self._transition])

    def _begin(self, state: ModelState, work: Coroutine[None, None, None]) -> None:
        self._enter(state)
        self._transition = asyncio.create_task(work, name=f"{state} {self.id}")

    def _enter(self, state: ModelState) -> None:
        if state != self._state:
            self._state = state
            self._host.changed(self)

    async def _load(self) -> None:
        try:
            async with self._host.within_budget(self):
                backend = self._unused or self._factory(self.settings)
                self._unused, self._backend = None, backend
                await backend.start()
                check_declared(backend)
                self.defaults.check(backend.capabilities)
                self._check_context(backend.capabilities)
        except Exception as error:  # noqa: BLE001  whatever a backend raises, the server stays up and tells the cause
            self.error = self._host.explain(self, error)
            await self._give_back()
            self._retry_at = time.monotonic() + self._pause
            self._pause = min(self._pause * 2, _LONGEST_PAUSE)
            self._enter("failed")
        else:
            self.capabilities = self._limited(backend.capabilities)
            self.error, self._pause = None, _FIRST_PAUSE
            self.last_used = time.monotonic()
            self._enter("loaded")
            self._watch_idleness()

    async def _unload(self) -> None:
        await self._no_lease.wait()
        await self._give_back()
        self._enter("unloaded")

    async def _give_back(self) -> None:
        """Stop the backend, if there is one, loaded or not."""
        backends, self._backend, self._unused = (self._backend, self._unused), None, None
        for backend in filter(None, backends):
            try:
                await backend.stop()
            except Exception:  # noqa: BLE001  whatever it raises, it is given up
                _log.exception("the backend of model %r failed to stop", self.id)
        self.in_budget = False

    def _check_context(self, capabilities: Capabilities) -> None:
        limit = self.settings.limits.context_length
        if limit is not None and (capabilities.context_length is None or capabilities.context_length > limit):
            message = "its backend cannot keep a limit of 'context_length'"
            raise BackendLoadError(message, key=("limits", "context_length"))

    def _limited(self, capabilities: Capabilities) -> Capabilities:
        """What the model can do, within what the operator lets it."""
        limits = (capabilities.max_output_tokens, self.settings.limits.max_output_tokens)
        return replace(capabilities, max_output_tokens=min((n for n in limits if n is not None), default=None))

    def _watch_idleness(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        seconds = self.settings.unload_after_seconds
        if seconds and not self._leases and self._state == "loaded":
            self._idle = asyncio.get_running_loop().call_later(seconds, self._unload_if_idle)

    def _unload_if_idle(self) -> None:
        self._idle = None
        if self._state == "loaded" and not self._leases:
            self._begin("unloading", self._unload())

    # --------------------------------------------------------------------------------------- other configuration

    def takes(self, settings: ModelSettings) -> bool:
        """Whether these settings can be its own without loading it again."""
        return _engine_part(settings) == _engine_part(self.settings)

    def adopt(self, other: ServedModel, max_concurrent: int, max_queued: int) -> None:
        """Go on with the settings of another, which `takes` allows."""
        self.settings, self.defaults = other.settings, other.defaults
        if self._backend is not None and self._state in _USABLE:
            self.capabilities = self._limited(self._backend.capabilities)
        self.admission.resize(*self._admission_limits(max_concurrent, max_queued))
        self._watch_idleness()

    def _admission_limits(self, max_concurrent: int, max_queued: int) -> tuple[int, int]:
        limits = self.settings.limits
        concurrent, queued = limits.max_concurrent_requests, limits.max_queued_requests
        return concurrent or max_concurrent, max_queued if queued is None else queued


def _engine_part(settings: ModelSettings) -> tuple[object, ...]:
    return (
        settings.id,
        settings.backend,
        settings.source,
        settings.chat_template,
        settings.options,
        settings.limits.context_length,
    )
