"""The model that a request names."""

from __future__ import annotations

import secrets
import time
from functools import partial
from typing import Any, TypeVar

from pydantic import BaseModel
from starlette.requests import Request

from specserve.backends.base import Call
from specserve.handlers._delivery.watching import until_disconnect
from specserve.handlers._parameters import refuse_unsupported
from specserve.models.served_model import ServedModel
from specserve.spec.errors import OperationNotSupported

Body = TypeVar("Body", bound=BaseModel)


async def served_model(request: Request, operation_id: str, body: Body) -> tuple[ServedModel, Body]:
    """The model a request names, held until the answer is out, and the request with the model's defaults filled in.

    A model that is loaded on request is loaded first. The parameters are within what the model can do.

    Raises:
        ModelNotFound: It is not served here.
        Unavailable: It is not loaded, and cannot be.
        OperationNotSupported: It does something else.
        UnsupportedParameter: See `refuse_unsupported`.
    """
    state: dict[str, Any] = request.scope["state"]  # each look through `request.state` costs a microsecond
    raw: dict[str, Any] = state["body"]
    model: ServedModel = state["registry"].get(raw["model"])
    state["log"]["model"] = model.id
    lease = model.try_lease(state["interrupt"])
    if lease is None:
        lease = await until_disconnect(request.receive, model.lease(state["interrupt"]))
    state["leases"].append(lease.release)
    supported = model.backend.capabilities.operations.get(operation_id)
    if supported is None:
        raise OperationNotSupported("The requested model does not support this operation.", param="model")
    check = partial(refuse_unsupported, state["parameters"][operation_id], raw, supported, state["ignored"].add)
    await state["off_loop"](check, state["body_bytes"])
    return model, model.defaults.apply(operation_id, body, raw, supported)


def new_call(request: Request, prefix: str) -> Call:
    """What a backend is told beside the request.

    Args:
        request: The request.
        prefix: How the answer's id begins.
    """
    state: dict[str, Any] = request.scope["state"]
    return Call(
        id=f"{prefix}-{secrets.token_hex(16)}",
        created=int(time.time()),
        body=state["body"],
        body_bytes=state["body_bytes"],
        passed_through=state["passed_through"],
        ignore=state["ignored"].add,
    )
