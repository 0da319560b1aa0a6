"""The only place where an error becomes a response."""

from __future__ import annotations

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from specserve.spec.errors import (
    APIError,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    RequestTooLarge,
    Unauthenticated,
)

# Bearer is what clients use; Basic makes a browser ask for the key when a person opens the documentation.
_CHALLENGE = 'Bearer realm="specserve", Basic realm="specserve", charset="UTF-8"'


def error_response(error: APIError) -> Response:
    """The response of an error: envelope, status, and the headers that go with them."""
    headers: dict[str, str] = {}
    if error.retry_after is not None:
        headers["retry-after"] = str(error.retry_after)
    if isinstance(error, MethodNotAllowed):
        headers["allow"] = ", ".join(error.allow)
    if isinstance(error, RequestTooLarge):
        headers["connection"] = "close"  # else the rest of the body would have to be read, to find the next request
    if isinstance(error, Unauthenticated):
        headers["www-authenticate"] = _CHALLENGE
    return Response(error.to_json(), error.status, headers, "application/json")


def from_http_exception(error: HTTPException) -> APIError:
    """Put an exception of the framework into our tree."""
    if error.status_code == NotFound.status:
        return NotFound("There is no such path here.")
    if 400 <= error.status_code < 500:
        return InvalidRequest("The request could not be understood.")
    return APIError("The server failed to answer.")


class ErrorMiddleware:
    """Turns whatever escapes the application into the error envelope. Pure ASGI."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._log = structlog.get_logger("specserve.errors")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application; answer in its place if it raises before the response began."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def watch(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, watch)
        except APIError as error:
            failure = error
            if error.status == 500:
                self._log.error("request failed", path=scope["path"], error=error.message, exc_info=error)
        except ClientDisconnect:
            return  # nobody is there to be answered
        except HTTPException as error:
            failure = from_http_exception(error)
        except Exception as error:  # noqa: BLE001  the last resort: a client must never see a bare 500
            self._log.error("request crashed", path=scope["path"], exc_info=error)
            failure = APIError("The server had an error while processing your request.")
        else:
            return
        if started:
            # Nothing can be said any more in this response; closing the connection is the only honest sign left.
            raise ConnectionResetError("the response broke off after it had begun")
        await error_response(failure)(scope, receive, send)
