"""The application: every part is put together here, and nowhere else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from starlette.middleware.cors import CORSMiddleware

from specserve import __version__
from specserve.config.settings import Settings
from specserve.http.auth import AuthMiddleware, KeyRing
from specserve.http.binding import bind
from specserve.http.bodies_in_flight import BodiesInFlight
from specserve.http.connexion_seam import AsyncApp, LifespanMiddleware, TableResolver
from specserve.http.dispatch import HandlerMiddleware
from specserve.http.docs_page import DocsMiddleware
from specserve.http.errors import ErrorMiddleware
from specserve.http.ignored import IGNORED_HEADER
from specserve.http.interruptions import InterruptionMiddleware
from specserve.http.leases import LeaseMiddleware
from specserve.http.off_loop import OffLoop
from specserve.http.origins import OriginMiddleware
from specserve.http.paths import BASE_PATH, PathMiddleware
from specserve.http.request_id import RequestIdMiddleware
from specserve.http.response_validation import ResponseValidationMiddleware
from specserve.http.validation import RequestValidationMiddleware
from specserve.models.registry import Registry
from specserve.models.served_model import ServedModel
from specserve.spec.document import load, operations, parameters
from specserve.telemetry.access_log import AccessLogMiddleware
from specserve.telemetry.logs import log_state


def create_app(settings: Settings, registry: Registry) -> AsyncApp:
    """Make the ASGI application of one server.

    Args:
        settings: The server's settings.
        registry: Its models. They are loaded by the application's lifespan, if they are not loading already.

    Raises:
        UnboundOperations: The spec and the handlers do not match.
    """
    document = load()
    handlers = bind(document)
    app = AsyncApp(
        __name__,
        lifespan=partial(_lifespan, settings=settings, registry=registry, document=document),
        middlewares=_middlewares(settings, document),
    )
    app.add_api(document, base_path=BASE_PATH, resolver=TableResolver(handlers))
    return app


def _middlewares(settings: Settings, document: dict[str, Any]) -> list[Any]:
    """The way of a request, outermost first."""
    return [
        RequestIdMiddleware,
        AccessLogMiddleware,
        partial(InterruptionMiddleware, request_timeout=settings.request_timeout_seconds),
        *_cors(settings, document),
        ErrorMiddleware,
        partial(OriginMiddleware, settings=settings),
        partial(AuthMiddleware, keyring=KeyRing.from_settings(settings)),
        partial(DocsMiddleware, document=document),
        partial(PathMiddleware, document=document),
        RequestValidationMiddleware,
        *([ResponseValidationMiddleware] if settings.validate_responses else []),
        LeaseMiddleware,
        LifespanMiddleware,
        HandlerMiddleware,
    ]


def _cors(settings: Settings, document: dict[str, Any]) -> list[Any]:
    if not settings.cors_origins:
        return []
    return [
        partial(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=sorted({operation.method.upper() for operation in operations(document)}),
            allow_headers=["*"],
            expose_headers=["x-request-id", "retry-after", IGNORED_HEADER],
        )
    ]


@asynccontextmanager
async def _lifespan(
    _app: object, *, settings: Settings, registry: Registry, document: dict[str, Any]
) -> AsyncIterator[dict[str, Any]]:
    """Load the models, serve, unload them. What is yielded is every request's state."""
    # Not before the start, unless the server survives a model that fails: what ends the start is told once, by the
    # one who started it.
    if registry.survives_failures:
        registry.listeners.append(_log_state)
    await registry.start()
    if not registry.survives_failures:
        registry.listeners.append(_log_state)
    off_loop = OffLoop()
    try:
        yield {
            "registry": registry,
            "parameters": {o.operation_id: parameters(document, o.operation_id) for o in operations(document)},
            "max_body_bytes": settings.max_body_bytes,
            "bodies_in_flight": BodiesInFlight(max(settings.max_bodies_in_flight_bytes, 2 * settings.max_body_bytes)),
            "off_loop": off_loop,
            "ignore_unknown_parameters": settings.unknown_parameters == "ignore",
            "stream_keep_alive_seconds": settings.stream_keep_alive_seconds,
            "version": __version__,
        }
    finally:
        off_loop.close()
        await registry.stop()


def _log_state(model: ServedModel) -> None:
    precision = None if model.capabilities is None or model.state != "loaded" else model.capabilities.precision
    facts = {} if precision is None else {"precision": str(precision)}
    log_state(model.id, model.state, model.error, **facts)
