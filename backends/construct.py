"""Makes generated models of values that are known to be right, and encodes them as JSON.

This is the only file that touches what pydantic keeps to itself: the attributes `__pydantic_fields_set__`,
`__pydantic_extra__` and `__pydantic_private__`. tests/backends/test_construct.py checks that the models are those that
`model_construct` makes. The public way looks up each default anew: it takes 2 to 4 times as long (9 microseconds more
for a chunk), and a plain answer makes about twenty models, so it would cost over 10 % of the benchmark `http_layer`.
`model_dump_json` asks each field how to write it; ours hold nothing that JSON does not have.
"""

from __future__ import annotations

from functools import cache
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, RootModel

Model = TypeVar("Model", bound=BaseModel)

_set = object.__setattr__


def construct(kind: type[Model], **values: Any) -> Model:
    """The same as ``kind.model_construct(**values)``: nothing is validated, and what is not given counts as unset."""
    defaults = _defaults(kind)
    if defaults is None:
        return kind.model_construct(**values)
    model = kind.__new__(kind)
    _set(model, "__dict__", {**defaults, **values})
    _set(model, "__pydantic_fields_set__", set(values))
    _set(model, "__pydantic_extra__", None)
    _set(model, "__pydantic_private__", None)
    return model


def encode(model: BaseModel) -> bytes:
    """The same as ``model.model_dump_json(exclude_unset=True)``, encoded."""
    return orjson.dumps(model, default=_contents)


def _contents(model: object) -> Any:
    if isinstance(model, RootModel):
        return model.root
    if not isinstance(model, BaseModel):
        raise TypeError(f"{type(model).__name__} has no place in JSON")
    given = model.model_fields_set
    return {name: value for name, value in vars(model).items() if name in given} | (model.model_extra or {})


@cache
def _defaults(kind: type[BaseModel]) -> dict[str, Any] | None:
    """The value of each field that is not given, in the order of the fields; None if it takes more to know them.

    Fields that must be given stand in it too, as None, for their place among the others in the JSON.
    """
    fields = kind.model_fields.values()
    if kind.model_config.get("extra") == "allow" or kind.__private_attributes__:
        return None
    if any(field.alias or field.validation_alias or field.default_factory for field in fields):
        return None
    if any(isinstance(field.default, list | dict | set | BaseModel) for field in fields):
        return None  # each model needs one of its own
    return {name: None if field.is_required() else field.default for name, field in kind.model_fields.items()}
