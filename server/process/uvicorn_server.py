"""uvicorn's server, with connections of our own. All that we rely on of uvicorn beyond its documentation is here.

uvicorn gives the life of the process: lifespan, signals, listening, the end. Its HTTP protocols are not used: see
docs/security.md.
"""

from __future__ import annotations

import asyncio
import errno
import math
import os
import signal
import socket
from types import FrameType
from typing import Any

import structlog
import uvicorn
from starlette.types import ASGIApp

from specserve.config.settings import Settings
from specserve.http.connections import ConnectionLimits, Connections
from specserve.http.protocol import HTTPConnection, Site
from specserve.http.request_head import HeadLimits
from specserve.process import announcement, listening
from specserve.process.last_exit import leave, leave_after
from specserve.process.reloading import Reloader

# After the grace period: for telling cut-off clients, and for leaving a start that was interrupted.
_LAST_WORDS_SECONDS = 2
# For threads to end when all else has ended.
_THREADS_SECONDS = 1
# For every response: a browser shall not guess what an answer is.
_DEFAULT_HEADERS = [("x-content-type-options", "nosniff")]


def connection_limits(settings: Settings) -> ConnectionLimits:
    """The limits of connections that the settings say."""
    return ConnectionLimits(
        heads=HeadLimits(
            head=settings.max_head_bytes,
            target=min(settings.max_head_bytes, settings.max_request_line_bytes),
            fields=settings.max_headers,
        ),
        idle=settings.idle_timeout_seconds,
        head=settings.head_timeout_seconds,
        body=settings.body_timeout_seconds,
        write=settings.write_timeout_seconds,
        connections=settings.max_connections,
    )


class Server(uvicorn.Server):
    """Serves the application until a signal ends it.

    Attributes:
        interrupted: The exit status if a signal came while it started, else 0.
    """

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
                http=self._connection,  # type: ignore[arg-type]  # a class is called, nothing more
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                proxy_headers=False,  # nothing here looks at the client's address
                headers=_DEFAULT_HEADERS,
                server_header=False,
                root_path=settings.root_path,
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
        self._site: Site | None = None
        self.interrupted = 0

    def _connection(self, *, app_state: dict[str, Any], **_others: object) -> asyncio.Protocol:
        """What uvicorn calls for each connection that it accepts."""
        if self._site is None:
            self._site = Site(
                app=self.config.loaded_app,
                connections=Connections(connection_limits(self._settings)),
                accepted=self.server_state.connections,  # type: ignore[arg-type]  # of which `shutdown` is called
                tasks=self.server_state.tasks,
                root_path=self._settings.root_path,
                state=app_state,
                default_headers=lambda: self.server_state.default_headers,
            )
        return HTTPConnection(self._site)

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve to the end, with SIGHUP as reload."""
        self._serving = asyncio.current_task()
        if self._reloader is not None and hasattr(signal, "SIGHUP"):
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._reload)
        await super().serve(sockets)
        if self.should_exit:
            leave_after(_THREADS_SECONDS, 0, "ended, although a thread still ran")

    def _reload(self) -> None:
        if self._reloader is not None and self.started and not self.should_exit:
            task = asyncio.create_task(self._reloader())
            self._reloading.add(task)
            task.add_done_callback(self._reloading.discard)
        else:
            self._log.warning("SIGHUP came while the server starts or stops, and is ignored")

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen once the application is ready.

        Raises:
            AddressError: Someone else listens there meanwhile.
        """
        try:
            await super().startup(sockets)
            for sock in sockets or ():
                sock.listen(self.config.backlog)  # uvloop does not say when it could not
        except OSError as error:
            # Someone else began to listen on the port while the models were loading.
            await self.lifespan.shutdown()
            if error.errno == errno.EBADF:  # uvloop has closed what it could not listen on
                error = OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
            raise listening.AddressError(listening.refusal(self._settings.host, self._settings.port, error)) from None
        announcement.serving(self._settings, self._url, self.lifespan.state.get("registry", ()), self._made_key)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let running requests finish within the grace period."""
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
        """Begin to end; at the second signal, end."""
        at_once = f"stopped at once by {signal.Signals(sig).name}"
        if self.should_exit:
            leave(128 + sig, at_once)
        self.should_exit = True
        if not self.started and self._serving is not None:
            self.interrupted = 128 + sig
            self._serving.get_loop().call_soon_threadsafe(self._serving.cancel)
            # A thread that is loading a model cannot be cancelled, and would be waited for.
            leave_after(_LAST_WORDS_SECONDS, 128 + sig, at_once)
        else:
            seconds = self._settings.shutdown_grace_seconds + _LAST_WORDS_SECONDS + _THREADS_SECONDS
            leave_after(seconds, 0, "ended, although something still ran after the grace period")
