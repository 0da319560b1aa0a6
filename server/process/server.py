"""The process: from settings to a running server, and to its end."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import socket
import threading
import warnings
from collections.abc import Callable
from types import FrameType
from typing import Any

import click
import structlog
import uvicorn
from pydantic import SecretStr
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from specserve.config.settings import Settings
from specserve.http.auth import generate_key, is_loopback
from specserve.http.binding import UnboundOperations
from specserve.http.protocol import Protocol
from specserve.models.entries import ModelError
from specserve.models.registry import Registry
from specserve.process import announcement, listening, optional_backends
from specserve.process.reloading import Reload, Reloader
from specserve.spec.errors import BackendLoadError
from specserve.telemetry import logs

# Longer than clients keep idle connections (5 s in httpx): the one who may send next should be the one who closes.
_KEEP_ALIVE_SECONDS = 75
# After the grace period: for telling cut-off clients, and for leaving a start that was interrupted.
_LAST_WORDS_SECONDS = 2

_START_UP_ERRORS = (listening.AddressError, BackendLoadError, UnboundOperations)


Locate = Callable[[ModelError], Exception]
AppFactory = Callable[[Settings, Registry], ASGIApp]


def _app(settings: Settings, registry: Registry) -> ASGIApp:
    # Imported late: it takes seconds, in which the models can load.
    with warnings.catch_warnings():
        # Connexion imports Starlette's test client, which tells tests to use another library. Nobody here can.
        warnings.filterwarnings("ignore", message="Using `httpx` with `starlette.testclient`")
        from specserve.http.app import create_app

    app: ASGIApp = create_app(settings, registry)
    return app


def serve(
    settings: Settings,
    registry: Registry,
    app_factory: AppFactory = _app,
    reload: Reload | None = None,
    locate: Locate | None = None,
) -> int:
    """Serve until a signal ends it; return the exit status.

    The first SIGTERM or SIGINT lets running requests finish within the grace period, the second ends at once. SIGHUP
    calls `reload`. What settings a model cannot keep comes out when it is loaded, and is told as `locate` says.
    """
    logs.configure(settings.log_level, settings.log_format)
    registry.survives_failures = settings.on_load_failure == "continue"
    reloader = Reloader(settings, reload) if reload is not None else None
    if settings.home is not None:
        # The cache of weights is found by this variable, in this process and in those it starts.
        os.environ["SPECSERVE_HOME"] = str(settings.home)
    made_key = ""
    if not settings.api_keys and not is_loopback(settings.host):
        made_key = generate_key()
        settings = settings.model_copy(update={"api_keys": (SecretStr(made_key),)})
    try:
        optional_backends.check(settings.served_models)
        sockets = listening.bind(settings.host, settings.port)
        announcement.loading(settings.served_models)
        start = _Start(registry, lambda: app_factory(settings, registry))
        server = _Server(settings, start, sockets, made_key, reloader)
        try:
            server.run(sockets)
        except SystemExit:
            if start.failure is None:
                raise
            raise start.failure from None
        except asyncio.CancelledError:
            return server.interrupted
    except _START_UP_ERRORS as error:
        told: Exception = error
        if isinstance(error, ModelError) and error.key and locate is not None:
            told = locate(error)
        click.echo(f"specserve: {told}", err=True)
        return 1
    return 0


class _Start:
    """Stands before the application and makes it while the models load.

    Keeps the exception that the start ended in: a person should read it once.
    """

    def __init__(self, registry: Registry, make_app: Callable[[], ASGIApp]) -> None:
        self._registry = registry
        self._make_app = make_app
        self._app: ASGIApp | None = None
        self.failure: BaseException | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan" and self._app is not None:
            await self._app(scope, receive, send)
            return

        async def send_without_traceback(message: Message) -> None:
            await send({"type": message["type"]})

        loading = asyncio.create_task(self._registry.start())
        try:
            try:
                self._app = await asyncio.to_thread(self._make_app)
            except BaseException:
                await send({"type": "lifespan.startup.failed"})
                raise
            await self._app(scope, receive, send_without_traceback)
        except BaseException as error:
            self.failure = error
            raise
        finally:
            await self._registry.stop()
            await asyncio.gather(loading, return_exceptions=True)


class _Server(uvicorn.Server):
    def __init__(
        self,
        settings: Settings,
        app: ASGIApp,
        sockets: list[socket.socket],
        made_key: str,
        reloader: Reloader | None,
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                interface="asgi3",
                http=Protocol,
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                root_path=settings.root_path,
                timeout_keep_alive=_KEEP_ALIVE_SECONDS,
                # A backstop: `shutdown` cuts requests off itself, and then waits until their clients were told.
                timeout_graceful_shutdown=math.ceil(settings.shutdown_grace_seconds) + _LAST_WORDS_SECONDS,
            )
        )
        self._settings = settings
        self._url = listening.base_url(settings.host, sockets)
        self._made_key = made_key
        self._reloader = reloader
        self._reloading: set[asyncio.Task[None]] = set()
        self._log = structlog.get_logger("specserve.process")
        self._serving: asyncio.Task[Any] | None = None
        self.interrupted = 0

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        self._serving = asyncio.current_task()
        if self._reloader is not None and hasattr(signal, "SIGHUP"):
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._reload)
        await super().serve(sockets)

    def _reload(self) -> None:
        if self._reloader is not None and self.started and not self.should_exit:
            task = asyncio.create_task(self._reloader())
            self._reloading.add(task)
            task.add_done_callback(self._reloading.discard)
        else:
            self._log.warning("SIGHUP came while the server starts or stops, and is ignored")

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        except OSError as error:
            # Someone else began to listen on the port while the models were loading.
            await self.lifespan.shutdown()
            raise listening.AddressError(listening.refusal(self._settings.host, self._settings.port, error)) from None
        announcement.serving(self._settings, self._url, self.lifespan.state.get("registry", ()), self._made_key)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for task in self._reloading:
            task.cancel()
        grace = self._settings.shutdown_grace_seconds
        self._log.info("shutting down", running_requests=len(self.server_state.tasks), grace_seconds=grace)
        cut_off = asyncio.get_running_loop().call_later(grace, self._cut_off)
        await super().shutdown(sockets)
        cut_off.cancel()

    def _cut_off(self) -> None:
        running = [task for task in self.server_state.tasks if not task.done()]
        if running:
            self._log.warning("grace period is over", cut_off_requests=len(running))
        for task in running:
            task.cancel()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.should_exit:
            _leave(sig)
        self.should_exit = True
        if not self.started and self._serving is not None:
            self.interrupted = 128 + sig
            self._serving.get_loop().call_soon_threadsafe(self._serving.cancel)
            # A thread that is loading a model cannot be cancelled, and would be waited for.
            leave = threading.Timer(_LAST_WORDS_SECONDS, _leave, [sig])
            leave.daemon = True
            leave.start()


def _leave(sig: int) -> None:
    """End the process now, threads and all."""
    os.write(2, f"specserve: stopped at once by {signal.Signals(sig).name}\n".encode())
    os._exit(128 + sig)
