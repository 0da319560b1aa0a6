"""Answers against the spec, with validators compiled once per operation: `validate_responses`."""

from __future__ import annotations

import orjson
from jsonschema_rs import Draft202012Validator, ValidationError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from specserve.http.connexion_seam import AbstractOperation, OperationAPI, RoutedMiddleware
from specserve.http.violations import format_path
from specserve.spec.errors import APIError
from specserve.spec.json_schema import to_json_schema
from specserve.spec.sse import DONE_DATA, Parser


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
        events = Parser()
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
                for event in [*events.feed(body)]:  # all of them first: a check that fails must leave none half read
                    if event.data != DONE_DATA:
                        _check(validator, event.data)
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
            (int(status), media_type): Draft202012Validator(to_json_schema(self.specification.raw, content["schema"]))
            for status, response in operation.responses.items()
            for media_type, content in response.get("content", {}).items()
        }
        return ResponseValidation(self.next_app, validators)


class ResponseValidationMiddleware(RoutedMiddleware[ResponseValidationAPI]):
    """Connexion's hook for `ResponseValidationAPI`."""

    api_cls = ResponseValidationAPI


def _check(validator: Draft202012Validator, payload: bytes | str) -> None:
    try:
        validator.validate(orjson.loads(payload))
    except (ValidationError, orjson.JSONDecodeError) as error:
        where = format_path(error.instance_path) if isinstance(error, ValidationError) else None
        raise NonConformingResponse(f"The response breaks the contract at {where or 'its root'}.") from error


def _media_type(message: Message) -> str:
    content_type = next((value for name, value in message["headers"] if name == b"content-type"), b"")
    return content_type.partition(b";")[0].strip().decode("latin-1")
