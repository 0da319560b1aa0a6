"""A backend's own settings of a model: each backend describes them as a pydantic model, validated here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from specserve.spec.errors import BackendLoadError


class Options(BaseModel):
    """Base of every backend's options: unknown names and other types are refused. Descriptions go into the docs."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


PrecisionMode = Literal["exact", "fast"]
"""`exact` rounds nothing to less than 32 bits where the device allows it; `fast` rounds what makes it faster."""

T = TypeVar("T", bound=Options)


def parse_options(kind: type[T], options: Mapping[str, Any]) -> T:
    """Validate what the operator wrote.

    Raises:
        BackendLoadError: An option is unknown or has a wrong value; the message and `key` name it.
    """
    try:
        return kind.model_validate(dict(options))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        key = ("options", *first["loc"])
        name = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            known = ", ".join(sorted(kind.model_fields))
            raise BackendLoadError(f"there is no option {name!r}; known are {known}", key=key) from None
        raise BackendLoadError(f"option {name!r}: {first['msg']}", key=key) from None
