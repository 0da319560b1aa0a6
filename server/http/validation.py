"""Requests against the spec, with validators compiled once per operation.

A Connexion middleware that takes the place of its own, which builds a new Python validator per request.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import structlog
from jsonschema_rs import Draft202012Validator
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from specserve.http.bodies_in_flight import BodiesInFlight
from specserve.http.body import check_headers, read_body
from specserve.http.connexion_seam import AbstractOperation, OperationAPI, RoutedMiddleware
from specserve.http.ignored import IGNORED_HEADER, Ignored
from specserve.http.json_body import parse_json
from specserve.http.off_loop import LARGE_BODY_BYTES, OffLoop
from specserve.http.reader import Reading
from specserve.http.reader_compiler import compile_reader
from specserve.spec.errors import InvalidRequest
from specserve.spec.json_schema import to_json_schema


class _Body:
    """What the contract says of one operation's body."""

    def __init__(self, document: dict[str, Any], schema: dict[str, Any], *, required: bool) -> None:
        self.required = required
        self._settled = Draft202012Validator(to_json_schema(document, schema, settled=True))
        self._reader = compile_reader(document, schema)

    def read(
        self,
        raw: bytes | bytearray,
        ignored: Ignored,
        *,
        drop_unknown: bool,
        pass_through: Callable[[object], frozenset[str]],
    ) -> tuple[Any, dict[str, Any]]:
        """Parse and validate, and bring into the form in which it is handed on.

        Args:
            raw: The bytes.
            ignored: Takes the names of what is dropped.
            drop_unknown: Whether unknown keys are dropped.
            pass_through: Gives the names outside the contract that the model of that name takes.

        Returns:
            The body, and what of it is outside the contract and taken all the same.

        Raises:
            InvalidRequest: It breaks the contract.
        """
        body = parse_json(raw)
        passed = {}
        if isinstance(body, dict) and (names := pass_through(body.get("model"))):
            passed = {name: body.pop(name) for name in names & body.keys()}
        # The usual body is in that form already, and a validator says so faster than we could. It keeps the interpreter
        # to itself meanwhile, so that a large body goes the other way.
        if len(raw) <= LARGE_BODY_BYTES and self._settled.is_valid(body):
            return body, passed
        return self._reader.read(body, Reading(ignored, drop_unknown)), passed


class RequestValidation:
    """Reads, parses and validates the body of one operation.

    It leaves in the scope's state what it has read: `body`, how many bytes it had as `body_bytes`, and as `ignored`
    what of it had no effect, to which whoever answers may add until the response begins.
    """

    def __init__(self, next_app: ASGIApp, body: _Body | None) -> None:
        self._next_app = next_app
        self._body = body
        self._log = structlog.get_logger("specserve.validation")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Validate, then go on.

        Raises:
            InvalidRequest: The body breaks the contract; see also `body.read_body` and `json_body.parse_json`.
            Overloaded: See `body.read_body`.
        """
        if self._body is None:
            await self._next_app(scope, receive, send)
            return
        state: dict[str, Any] = scope["state"]
        bodies: BodiesInFlight = state["bodies_in_flight"]
        off_loop: OffLoop = state["off_loop"]
        ignored = state["ignored"] = Ignored()
        state["body"], state["body_bytes"], state["passed_through"] = None, 0, {}
        with bodies.room() as room:
            check_headers(scope)
            raw = await read_body(scope, receive, state["max_body_bytes"], room, off_loop)
            if raw:
                drop_unknown: bool = state["ignore_unknown_parameters"]
                takes: Callable[[object], frozenset[str]] = state["registry"].pass_through
                read = partial(self._body.read, raw, ignored, drop_unknown=drop_unknown, pass_through=takes)
                size = state["body_bytes"] = len(raw)
                del raw
                state["body"], state["passed_through"] = await off_loop(read, size)
                if ignored and drop_unknown:
                    self._log.warning("ignored unknown parameters", parameters=str(ignored))
            elif self._body.required:
                raise InvalidRequest("The request body is empty.")
            await self._next_app(scope, receive, _naming(ignored, send))


class RequestValidationAPI(OperationAPI[RequestValidation]):
    """Compiles the validators of one spec."""

    def make_operation(self, operation: AbstractOperation) -> RequestValidation:
        """Compile the body schema of an operation, if it has one."""
        request_body = operation.request_body
        content = request_body.get("content", {}).get("application/json")
        if not content:
            return RequestValidation(self.next_app, None)
        required = request_body.get("required", False)
        return RequestValidation(self.next_app, _Body(self.specification.raw, content["schema"], required=required))


class RequestValidationMiddleware(RoutedMiddleware[RequestValidationAPI]):
    """Connexion's hook for `RequestValidationAPI`."""

    api_cls = RequestValidationAPI


def _naming(ignored: Ignored, send: Send) -> Send:
    """Names in the response what was ignored, as far as it is known when the response begins."""

    async def send_naming_ignored(message: Message) -> None:
        if ignored and message["type"] == "http.response.start":
            header = (IGNORED_HEADER.encode(), str(ignored).encode())
            message = {**message, "headers": [*message.get("headers", ()), header]}
        await send(message)

    return send_naming_ignored
