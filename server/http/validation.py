"""Requests and responses against the spec, with validators compiled once per operation.

Two Connexion middlewares that take the place of its own: those build a new Python validator per request.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import orjson
import structlog
from jsonschema_rs import Draft202012Validator, ValidationError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from specserve.http.body import parse_json, read_body
from specserve.http.connexion_seam import AbstractOperation, OperationAPI, RoutedMiddleware, Specification
from specserve.http.violations import explain, format_path, unknown_keys
from specserve.spec.errors import APIError, InvalidRequest
from specserve.spec.json_schema import to_json_schema

IGNORED_HEADER = "x-specserve-ignored-parameters"
_MOST_ERRORS = 50  # violations looked at; a hostile body could hold millions
_MOST_PASSES = 5  # removing an unknown key may bring another to light, in a deeper object


@dataclass(frozen=True)
class _Body:
    """What the contract says of one operation's body."""

    validator: Draft202012Validator
    required: bool
    one_of: tuple[str, ...]

    def validate(self, body: Any, *, ignore_unknown: bool) -> list[str]:
        """Validate in place; returns the names that were removed because the contract does not know them."""
        if self.validator.is_valid(body):
            return []
        removed: list[str] = []
        for _ in range(_MOST_PASSES):
            errors = list(islice(self.validator.iter_errors(body), _MOST_ERRORS))
            if not errors:
                return removed
            unknown = unknown_keys(errors) if ignore_unknown else []
            if not unknown:
                raise explain(errors, self.one_of)
            for path, name in unknown:
                holder = body
                for part in path:
                    holder = holder[part]
                holder.pop(name, None)
                removed.append(_header_safe(format_path([*path, name]) or name))
        raise explain(errors, self.one_of)


class RequestValidation:
    """Reads, parses and validates the body of one operation; leaves the result in the scope's state as ``body``."""

    def __init__(self, next_app: ASGIApp, body: _Body | None) -> None:
        self._next_app = next_app
        self._body = body
        self._log = structlog.get_logger("specserve.validation")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Validate, then go on.

        Raises:
            InvalidRequest: The body breaks the contract; see also `body.read_body` and `body.parse_json`.
        """
        if self._body is None:
            await self._next_app(scope, receive, send)
            return
        state: dict[str, Any] = scope["state"]
        raw = await read_body(scope, receive, state["max_body_bytes"])
        if not raw:
            if self._body.required:
                raise InvalidRequest("The request body is empty.")
            state["body"] = None
        else:
            body = parse_json(scope, raw)
            ignored = self._body.validate(body, ignore_unknown=state["ignore_unknown_parameters"])
            if ignored:
                self._log.warning("ignored unknown parameters", parameters=ignored)
                send = _with_header(send, IGNORED_HEADER, ", ".join(ignored))
            state["body"] = body
        await self._next_app(scope, receive, send)


class RequestValidationAPI(OperationAPI[RequestValidation]):
    """Compiles the validators of one spec."""

    def make_operation(self, operation: AbstractOperation) -> RequestValidation:
        """Compile the body schema of an operation, if it has one."""
        request_body = operation.request_body
        content = request_body.get("content", {}).get("application/json")
        body = None
        if content:
            schema = content["schema"]
            one_of = tuple(schema.get("x-specserve-one-of", ()))
            required = request_body.get("required", False)
            body = _Body(_compile(self.specification, schema), required=required, one_of=one_of)
        return RequestValidation(self.next_app, body)


class RequestValidationMiddleware(RoutedMiddleware[RequestValidationAPI]):
    """Connexion's hook for `RequestValidationAPI`."""

    api_cls = RequestValidationAPI


class NonConformingResponse(APIError):
    """Our own answer broke the contract: a bug of the server or of a backend, said plainly."""

    code = "non_conforming_response"


class ResponseValidation:
    """Checks every answer of one operation, stream events included, before it goes out."""

    def __init__(self, next_app: ASGIApp, validators: dict[tuple[int, str], Draft202012Validator]) -> None:
        self._next_app = next_app
        self._validators = validators

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the operation and validate what it sends.

        Raises:
            NonConformingResponse: A body, or an event before the first byte went out, is not what the spec promises.
        """
        start: Message | None = None
        held: list[bytes] = []
        events = _EventPayloads()
        validator: Draft202012Validator | None = None
        streams = False

        async def check(message: Message) -> None:
            nonlocal start, validator, streams
            if message["type"] == "http.response.start":
                media_type = _media_type(message)
                validator = self._validators.get((message["status"], media_type))
                if validator is None:
                    raise NonConformingResponse("The response has a status or content type outside the contract.")
                streams = media_type == "text/event-stream"
                start = message
                return
            if message["type"] != "http.response.body" or validator is None or start is None:
                await send(message)
                return
            body: bytes = message.get("body", b"")
            if streams:
                for payload in events.feed(body):
                    _check(validator, payload)
            else:
                held.append(body)
                if message.get("more_body", False):
                    return
                body = b"".join(held)
                if scope["method"] != "HEAD":
                    _check(validator, body)
            if start["status"]:
                await send(start)
                start = {**start, "status": 0}  # sent
            await send({**message, "body": body})

        await self._next_app(scope, receive, check)


class ResponseValidationAPI(OperationAPI[ResponseValidation]):
    """Compiles the response validators of one spec."""

    def make_operation(self, operation: AbstractOperation) -> ResponseValidation:
        """Compile each documented (status, content type) of an operation."""
        validators = {
            (int(status), media_type): _compile(self.specification, content["schema"])
            for status, response in operation.responses.items()
            for media_type, content in response.get("content", {}).items()
        }
        return ResponseValidation(self.next_app, validators)


class ResponseValidationMiddleware(RoutedMiddleware[ResponseValidationAPI]):
    """Connexion's hook for `ResponseValidationAPI`."""

    api_cls = ResponseValidationAPI


class _EventPayloads:
    """Cuts our own event stream into JSON payloads; ours has one ``data:`` line an event and ends lines with LF."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        *events, self._rest = (self._rest + data).split(b"\n\n")
        for event in events:
            payload = event.removeprefix(b"data: ")
            if payload != b"[DONE]" and not payload.startswith(b":"):
                yield payload


def _compile(specification: Specification, schema: dict[str, Any]) -> Draft202012Validator:
    return Draft202012Validator(to_json_schema(specification.raw, schema))


def _check(validator: Draft202012Validator, payload: bytes) -> None:
    try:
        validator.validate(orjson.loads(payload))
    except (ValidationError, orjson.JSONDecodeError) as error:
        where = format_path(error.instance_path) if isinstance(error, ValidationError) else None
        raise NonConformingResponse(f"The response breaks the contract at {where or 'its root'}.") from error


def _media_type(message: Message) -> str:
    content_type = next((value for name, value in message["headers"] if name == b"content-type"), b"")
    return content_type.partition(b";")[0].strip().decode("latin-1")


def _with_header(send: Send, name: str, value: str) -> Send:
    async def send_with_header(message: Message) -> None:
        if message["type"] == "http.response.start":
            header = (name.encode("latin-1"), value.encode("latin-1"))
            message = {**message, "headers": [*message.get("headers", ()), header]}
        await send(message)

    return send_with_header


def _header_safe(name: str) -> str:
    """A client's own key may hold anything; a header may not."""
    return "".join(c if c.isascii() and c.isprintable() and c != "," else "?" for c in name)


__all__ = ["IGNORED_HEADER", "RequestValidationMiddleware", "ResponseValidationMiddleware"]
