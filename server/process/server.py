"""The process: from settings to a running server, and to its end."""

from __future__ import annotations

import asyncio
import os
import warnings
from collections.abc import Callable

import click
from pydantic import SecretStr
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from specserve.config.settings import Settings
from specserve.http.auth import generate_key, is_loopback
from specserve.http.binding import UnboundOperations
from specserve.models.entries import ModelError
from specserve.models.registry import Registry
from specserve.process import announcement, listening, optional_backends
from specserve.process.reloading import Reload, Reloader
from specserve.process.uvicorn_server import Server
from specserve.spec.errors import BackendLoadError
from specserve.telemetry import logs

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
        server = Server(settings, start, sockets, made_key, reloader)
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
        logs.finish()
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
            if message["type"].startswith("lifespan.shutdown"):
                await self._registry.stop()  # what comes after this message is cancelled with the event loop
            await send({"type": message["type"]})

        loading = asyncio.create_task(self._registry.start())
        loading.add_done_callback(_take_exception)
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


def _take_exception(loading: asyncio.Task[None]) -> None:
    """Keep asyncio from logging what the application reports itself, even if nobody gets to wait for the task."""
    if not loading.cancelled():
        loading.exception()
