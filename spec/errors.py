"""The errors that a request can end in. Nothing else may leave a backend or a handler.

    APIError                        500  server_error           (null)
    ├── InvalidRequest              400  invalid_request_error  (null)
    │   ├── InvalidType             400  invalid_request_error  invalid_type
    │   ├── InvalidValue            400  invalid_request_error  invalid_value
    │   ├── MissingParameter        400  invalid_request_error  missing_required_parameter
    │   ├── UnsupportedParameter    400  invalid_request_error  unsupported_parameter
    │   ├── UnsupportedValue        400  invalid_request_error  unsupported_value
    │   ├── UnknownParameter        400  invalid_request_error  unknown_parameter
    │   ├── ContextLengthExceeded   400  invalid_request_error  context_length_exceeded
    │   ├── RequestTimeout          408  invalid_request_error  request_timeout
    │   ├── RequestTooLarge         413  invalid_request_error  request_too_large
    │   ├── TargetTooLong           414  invalid_request_error  uri_too_long
    │   ├── UnsupportedMediaType    415  invalid_request_error  unsupported_media_type
    │   ├── Misdirected             421  invalid_request_error  misdirected_request
    │   └── HeadersTooLarge         431  invalid_request_error  request_header_fields_too_large
    ├── Unauthenticated             401  invalid_request_error  invalid_api_key
    ├── PermissionDenied            403  invalid_request_error  permission_denied
    ├── NotFound                    404  invalid_request_error  unknown_url
    │   ├── ModelNotFound           404  invalid_request_error  model_not_found
    │   └── OperationNotSupported   404  invalid_request_error  operation_not_supported
    ├── MethodNotAllowed            405  invalid_request_error  method_not_allowed
    ├── Overloaded                  429  rate_limit_error       server_overloaded
    ├── EngineFailure               500  server_error           engine_failure
    ├── BadGateway                  502  server_error           upstream_error
    │   ├── UpstreamUnreachable     502  server_error           upstream_unreachable
    │   ├── UpstreamRefused         502  server_error           upstream_refused
    │   └── UpstreamBreach          502  server_error           upstream_breach
    ├── Unavailable                 503  server_error           service_unavailable
    ├── DeadlineExceeded            504  server_error           deadline_exceeded
    ├── UpstreamTimeout             504  server_error           upstream_timeout
    └── Relayed                     those that another server gave

Status, type and code are attributes of the class, as in OpenAI's published error guide; those of `Relayed` belong to
each error. `server/http/errors.py` is the only place that makes a response of them. A message is one short sentence
and never holds the client's input or a key.
"""

from __future__ import annotations

from specserve.generated.models import Error, ErrorResponse

_LONGEST_MESSAGE = 1000  # characters; what breaks here may hold megabytes of somebody's data


class APIError(Exception):
    """A failure with an answer in OpenAI's error envelope.

    Attributes:
        message: One sentence for the developer at the other end, under 1 KB.
        param: The request field at fault, such as ``messages[0].content``, or None.
        retry_after: Seconds after which trying again makes sense, or None; becomes the Retry-After header.
    """

    status: int = 500
    type: str = "server_error"
    code: str | None = None

    def __init__(self, message: str, *, param: str | None = None, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after = retry_after

    def to_json(self) -> bytes:
        """The error envelope, ``{"error": {"message", "type", "param", "code"}}``."""
        error = Error(message=self.message[:_LONGEST_MESSAGE], type=self.type, param=self.param, code=self.code)
        return ErrorResponse(error=error).model_dump_json().encode()


class InvalidRequest(APIError):
    """The request breaks the contract; `param` names where."""

    status = 400
    type = "invalid_request_error"


class InvalidType(InvalidRequest):
    """A field has another JSON type than the contract says."""

    code = "invalid_type"


class InvalidValue(InvalidRequest):
    """A field's value is outside its enumeration or limits."""

    code = "invalid_value"


class MissingParameter(InvalidRequest):
    """A required field is absent."""

    code = "missing_required_parameter"


class UnsupportedParameter(InvalidRequest):
    """The contract has this parameter, but the model cannot give it effect."""

    code = "unsupported_parameter"


class UnsupportedValue(InvalidRequest):
    """The model knows the parameter, but not with this value."""

    code = "unsupported_value"


class UnknownParameter(InvalidRequest):
    """The contract has no such parameter."""

    code = "unknown_parameter"


class ContextLengthExceeded(InvalidRequest):
    """The prompt, or the prompt and the least that must be generated, exceeds the model's context."""

    code = "context_length_exceeded"


class RequestTimeout(InvalidRequest):
    """The request did not come to its end in time."""

    status = 408
    code = "request_timeout"


class RequestTooLarge(InvalidRequest):
    """The body is larger than the server reads."""

    status = 413
    code = "request_too_large"


class UnsupportedMediaType(InvalidRequest):
    """The body is not of a content type that the operation takes."""

    status = 415
    code = "unsupported_media_type"


class TargetTooLong(InvalidRequest):
    """The request line is longer than the server reads."""

    status = 414
    code = "uri_too_long"


class Misdirected(InvalidRequest):
    """The request was sent to another host than this server answers for."""

    status = 421
    code = "misdirected_request"


class HeadersTooLarge(InvalidRequest):
    """The request has more headers, or larger ones, than the server reads."""

    status = 431
    code = "request_header_fields_too_large"


class Unauthenticated(APIError):
    """No key, or a wrong one."""

    status = 401
    type = "invalid_request_error"
    code = "invalid_api_key"


class PermissionDenied(APIError):
    """The key is right, but does not give this right."""

    status = 403
    type = "invalid_request_error"
    code = "permission_denied"


class NotFound(APIError):
    """No operation at this path."""

    status = 404
    type = "invalid_request_error"
    code = "unknown_url"


class ModelNotFound(NotFound):
    """No model of this id is served."""

    code = "model_not_found"


class OperationNotSupported(NotFound):
    """The model exists but does not do this operation, as when a chat model is asked for embeddings."""

    code = "operation_not_supported"


class MethodNotAllowed(APIError):
    """The path exists, with other methods: those in `allow`."""

    status = 405
    type = "invalid_request_error"
    code = "method_not_allowed"

    def __init__(self, message: str, *, allow: tuple[str, ...]) -> None:
        super().__init__(message)
        self.allow = allow


class Overloaded(APIError):
    """The model's queue is full; try again after `retry_after` seconds."""

    status = 429
    type = "rate_limit_error"
    code = "server_overloaded"


class Unavailable(APIError):
    """The server is starting, stopping, or the model is not loaded."""

    status = 503
    code = "service_unavailable"


class EngineFailure(APIError):
    """The engine broke while it worked on the request."""

    code = "engine_failure"


class BadGateway(APIError):
    """The server that runs the model failed to answer, in a way that is no fault of the client."""

    status = 502
    code = "upstream_error"


class UpstreamUnreachable(BadGateway):
    """No connection, or it broke before there was an answer."""

    code = "upstream_unreachable"


class UpstreamRefused(BadGateway):
    """The server that runs the model refuses this server: its key, its account or its address are wrong."""

    code = "upstream_refused"


class UpstreamBreach(BadGateway):
    """What the server that runs the model sent breaks the contract, in a way that cannot be repaired."""

    code = "upstream_breach"


class DeadlineExceeded(APIError):
    """The request took longer than this server lets any take."""

    status = 504
    code = "deadline_exceeded"


class UpstreamTimeout(APIError):
    """The server that runs the model did not answer in time."""

    status = 504
    code = "upstream_timeout"


class Relayed(APIError):
    """What another server said of the request, in its words."""

    def __init__(
        self,
        message: str,
        *,
        status: int,
        type: str,  # noqa: A002  the field's name in the envelope
        code: str | None,
        param: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message, param=param, retry_after=retry_after)
        self.status = status
        self.type = type
        self.code = code


class BackendLoadError(Exception):
    """A model could not be loaded; the message says why and what to do, in one line, and holds no secret.

    At start it ends the server; later it is the cause that requests for the model are told.

    Attributes:
        key: Where in the model's settings the fault is, such as ``("options", "device")``; empty if not there.
    """

    def __init__(self, message: str, *, key: tuple[str | int, ...] = ()) -> None:
        super().__init__(message)
        self.key = key
