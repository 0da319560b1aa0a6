"""One model and its life: unloaded, loading, loaded, unloading, failed.

    unloaded ──load──> loading ──> loaded ──unload──> unloading ──(no lease left)──> unloaded
                          └──────> failed ──load──> loading

A request takes a lease before it touches the backend and gives it back when its answer is out, or its client is gone.
A model is unloaded when no request holds one, or when its time for draining is over: then those requests are ended.
Loading and unloading run in a task of the model's own, which goes on when the client that caused it leaves; whoever
else wants the same waits for that task. A loaded model whose engine broke shows as failed until the backend has
mended itself (`Backend.outage`) or it is loaded anew.
"""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial
from typing import TYPE_CHECKING, NoReturn

from specserve.backends.abilities import check_declared
from specserve.backends.base import Activity
from specserve.models.admission import Admission
from specserve.models.defaults import Defaults
from specserve.models.ending import Endings
from specserve.models.lease import Interrupt, Lease, Leases
from specserve.models.limits import admission_limits, check_context, engine_part, limited
from specserve.spec.errors import BackendLoadError, ModelNotFound, Overloaded, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from specserve.backends.base import Backend, Capabilities, ModelSettings
    from specserve.generated.models import ModelState
    from specserve.models.bounds import Bounds
    from specserve.models.host import LifecycleHost
    from specserve.spec.errors import APIError

_log = logging.getLogger("specserve.models")

_USABLE = frozenset({"loaded", "unloading"})
"""The states in which whoever holds a lease can use the backend."""

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
"""Seconds after which a request has a failed load tried again; each failure doubles them."""

_LAST_WORDS_SECONDS = 5.0
"""For requests that were interrupted to tell their clients."""

_STOP_SECONDS, _CLOSE_SECONDS = 30.0, 1.5
"""How long the end of a backend is waited for, and how long when the server stops."""

_RETRY_AFTER = 5


class ServedModel:
    """One model with its backend and its door. Lives on one event loop."""

    def __init__(
        self,
        settings: ModelSettings,
        factory: Callable[[ModelSettings], Backend],
        host: LifecycleHost,
        bounds: Bounds,
    ) -> None:
        """Make the backend, which validates the model's settings; loads nothing.

        Args:
            settings: What the operator said of it.
            factory: Makes its backend, now and for each time that it is loaded again.
            host: The registry.
            bounds: What holds for all models.

        Raises:
            BackendLoadError: The settings are wrong.
        """
        self.settings = settings
        self.created = int(time.time())
        self.capabilities: Capabilities | None = None
        self.error: Exception | None = None
        self.in_budget = False
        self.last_size = 0
        self._loaded_at = 0.0
        self._host = host
        self.defaults = Defaults(settings.defaults, settings.limits.max_output_tokens)
        self._factory = factory
        self._unused: Backend | None = factory(settings)
        self._backend: Backend | None = None
        self._state: ModelState = "unloaded"
        self._transition: asyncio.Task[None] | None = None
        self._outage: str | None = None
        self._endings = Endings(settings.id)
        self._leases = Leases(self._watch_idleness)
        self._waiting = 0
        self._refusal: Callable[[], APIError] | None = None
        self._retry_at = 0.0
        self._pause = _FIRST_PAUSE
        self._idle: asyncio.TimerHandle | None = None
        self._bounds = bounds
        self.admission = Admission(*admission_limits(settings.limits, bounds))

    @property
    def id(self) -> str:
        """The name clients use."""
        return self.settings.id

    @property
    def state(self) -> ModelState:
        """Where it is in its life. One whose engine broke and is being started again counts as failed."""
        return "failed" if self._state == "loaded" and self._outage is not None else self._state

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
    def last_used(self) -> float:
        """When a request last used it, or it was loaded, by the monotonic clock."""
        return max(self._leases.last_used, self._loaded_at)

    @property
    def in_use(self) -> bool:
        """Whether a request holds a lease."""
        return bool(self._leases)

    @property
    def waiting(self) -> int:
        """Requests that wait for the model to be loaded, or for a slot."""
        return self.admission.waiting + self._waiting

    @property
    def load_error(self) -> str | None:
        """Why it cannot be used, in words for clients; None in any other state than `failed`."""
        if self.state != "failed" or self.error is None:
            return None
        if isinstance(self.error, BackendLoadError):
            return str(self.error)
        return "the backend failed in a way that it does not explain; the server's log has more"

    def prepare(self) -> None:
        """Let the backend begin what takes long, before there is an event loop."""
        if self._unused is not None:
            self._unused.prepare()

    def try_lease(self, interrupt: Interrupt) -> Lease | None:
        """Take a lease if that needs no waiting; see `lease`."""
        if self._state != "loaded" or self._refusal is not None:
            return None
        return self._take(interrupt)

    async def lease(self, interrupt: Interrupt) -> Lease:
        """Take a lease, having the model loaded first if it is not and requests may do that.

        Args:
            interrupt: Ends the request if it still holds the lease when the model must go.

        Raises:
            Unavailable: It is not loaded and is loaded by hand only, could not be loaded, or not in the time that a
                request waits, or the server stops.
            Overloaded: As many as the model's queue can hold wait already.
            ModelNotFound: It was taken out of the configuration.
        """
        try:
            async with asyncio.timeout(self._bounds.max_wait or None):
                return await self._lease(interrupt)
        except TimeoutError:
            raise Unavailable(
                f"The model was not loaded in the {self._bounds.max_wait:g} seconds that a request waits.",
                retry_after=_RETRY_AFTER,
            ) from None

    async def _lease(self, interrupt: Interrupt) -> Lease:
        while self._state == "unloading":
            self._check_served()
            if self.settings.load == "manual":
                self._refuse_unloaded()
            await self._wait()
        lease = self._take(interrupt)
        try:
            while self._state not in _USABLE:
                self._check_served()
                if self._state != "loading":
                    self._load_for_request()
                await self._wait()
        except BaseException:
            lease.release()
            raise
        return lease

    def _take(self, interrupt: Interrupt) -> Lease:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        return self._leases.take(interrupt)

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
            raise Overloaded(
                "The model is being loaded, and its queue is full. Please try again later.", retry_after=_RETRY_AFTER
            )
        self._waiting += 1
        try:
            await self.settled()
        finally:
            self._waiting -= 1

    async def load(self) -> None:
        """Load it, whatever its policy; return when it is loaded.

        Raises:
            Unavailable: It could not be loaded; the message holds the cause.
            ModelNotFound: It was taken out of the configuration.
        """
        while self._state == "unloading":
            await self.settled()
        self._check_served()
        if self.state in {"unloaded", "failed"}:
            self._begin("loading", self._load())
        if self._state == "loading":
            await self.settled()
        self._check_served()
        if self.load_error is not None:
            raise Unavailable(f"The model could not be loaded: {self.load_error}")

    async def unload(self) -> None:
        """Let those who hold a lease finish, within the time for draining, and unload it; return when that is done."""
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
        self._refusal = partial(Unavailable, "The server is shutting down.", retry_after=_RETRY_AFTER)
        if self._idle is not None:
            self._idle.cancel()
        if self._transition is not None and not self._transition.done():
            self._transition.cancel()
            await asyncio.wait([self._transition], timeout=_CLOSE_SECONDS)
        self._stop_backends()
        await self._endings.wait(_CLOSE_SECONDS)
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
        backend: Backend | None = None
        try:
            self._stop_backends(unused=False)  # one whose engine broke
            await self._endings.wait(_STOP_SECONDS)
            async with self._host.within_budget(self):
                backend = self._unused or self._factory(self.settings)
                self._unused, self._backend = None, backend
                backend.on_outage = partial(self._note_outage, backend)
                await self._start(backend)
                check_declared(backend)
                self.defaults.check(backend.capabilities)
                check_context(backend.capabilities, self.settings.limits)
        except Exception as error:  # noqa: BLE001  whatever a backend raises, the server stays up and tells the cause
            self.error = self._host.explain(self, error)
            await self._give_back()
            self._retry_at = time.monotonic() + self._pause
            self._pause = min(self._pause * 2, _LONGEST_PAUSE)
            self._enter("failed")
        else:
            self.capabilities = limited(backend.capabilities, self.settings.limits)
            self.error, self._pause = None, _FIRST_PAUSE
            self._loaded_at = time.monotonic()
            self._enter("loaded")
            self._watch_idleness()
            self._note_outage(backend)  # its engine may have broken again already

    async def _start(self, backend: Backend) -> None:
        try:
            async with asyncio.timeout(self._bounds.load_timeout or None) as limit:
                await backend.start()
        except TimeoutError as error:
            if not limit.expired():
                raise
            message = f"it was not loaded in the {self._bounds.load_timeout:g} seconds that a load may take"
            raise BackendLoadError(message) from error

    async def _unload(self) -> None:
        if not await self._leases.are_given_back(self._bounds.drain):
            _log.warning(
                "model %r is unloaded, and ends the requests that it still has: %d", self.id, len(self._leases)
            )
            self._leases.interrupt_all(Unavailable("The model is being unloaded.", retry_after=_RETRY_AFTER))
            await self._leases.are_given_back(_LAST_WORDS_SECONDS)
        await self._give_back()
        self._enter("unloaded")

    async def _give_back(self) -> None:
        """Stop the backend, if there is one, loaded or not."""
        self._stop_backends()
        await self._endings.wait(_STOP_SECONDS)

    def _stop_backends(self, *, unused: bool = True) -> None:
        backend, self._backend, self._outage = self._backend, None, None
        if backend is not None:
            self._endings.begin(backend)
        if unused and self._unused is not None:
            self._endings.begin(self._unused)
            self._unused = None
        self.in_budget = False

    def _note_outage(self, backend: Backend) -> None:
        """Take over what the loaded backend says of its engine."""
        outage = backend.outage() if backend is self._backend and self._state == "loaded" else None
        if outage != self._outage:
            self._outage = outage
            self.error = None if outage is None else BackendLoadError(outage)
            self._host.changed(self)

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

    def takes(self, settings: ModelSettings) -> bool:
        """Whether these settings can be its own without loading it again."""
        return engine_part(settings) == engine_part(self.settings)

    def check_adoption(self, other: ServedModel) -> None:
        """Check that what is loaded, or was, can keep the settings of another, as a load would.

        Raises:
            BackendLoadError: It cannot; the key tells which.
        """
        if self.capabilities is not None:
            other.defaults.check(self.capabilities)

    def adopt(self, other: ServedModel) -> None:
        """Go on with the settings of another, which `takes` and `check_adoption` allow."""
        self.settings, self.defaults, self._bounds = other.settings, other.defaults, other._bounds
        if self._backend is not None and self._state in _USABLE:
            self.capabilities = limited(self._backend.capabilities, self.settings.limits)
        self.admission.resize(*admission_limits(self.settings.limits, self._bounds))
        self._watch_idleness()
