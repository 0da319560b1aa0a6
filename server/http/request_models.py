"""From a validated body to the generated model that a handler takes."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, SupportsIndex, get_args, get_origin, overload

from pydantic import BaseModel, TypeAdapter, ValidationError, create_model

from specserve.http.violations import invalid


class RequestModel:
    """Makes the generated model of one operation's bodies.

    Of a large body only what cannot hold many values is made anew. The rest stays as it is in JSON; a list of objects
    makes a model of each when it is looked at (`Models`). To make all at once would take seconds, in one step that
    holds up everybody, and several times the body's memory.

    Args:
        model: The generated model.
        holds_many: Its properties that can hold many values.
        lists: Those of them that are lists of objects.
    """

    def __init__(self, model: type[BaseModel], holds_many: Collection[str] = (), lists: Collection[str] = ()) -> None:
        self._model = model
        fields = model.model_fields
        unmade: dict[str, Any] = {
            name: (Any, ... if fields[name].is_required() else fields[name].default) for name in holds_many
        }
        self._large = create_model(f"Large{model.__name__}", __base__=model, **unmade)
        self._lists = {name: TypeAdapter(_item(fields[name].annotation)) for name in lists}

    def make(self, body: Any, *, large: bool) -> BaseModel:
        """Make the model.

        Args:
            body: What validation has passed.
            large: Whether the body is a large one.

        Raises:
            InvalidRequest: The model, which another tool makes of the contract, is narrower than the contract.
        """
        try:
            if not large:
                return self._model.model_validate(body)
            lists = {name: Models(body[name], kind) for name, kind in self._lists.items() if name in body}
            return self._large.model_validate({**body, **lists})
        except ValidationError as error:
            # Few, since a large body has nothing in it of which there could be many.
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            raise invalid(first["loc"]) from error


class Models(list[Any]):
    """A list of objects that makes a model of each when it is looked at, and is the plain list when it is encoded.

    Args:
        plain: The objects, validated.
        kind: What to make of each.
    """

    def __init__(self, plain: Sequence[Any], kind: TypeAdapter[Any]) -> None:
        super().__init__(plain)
        self._kind = kind

    def __iter__(self) -> Iterator[Any]:
        return map(self._kind.validate_python, super().__iter__())

    @overload
    def __getitem__(self, at: SupportsIndex) -> Any: ...

    @overload
    def __getitem__(self, at: slice) -> list[Any]: ...

    def __getitem__(self, at: SupportsIndex | slice) -> Any:
        found = super().__getitem__(at)
        return Models(found, self._kind) if isinstance(at, slice) else self._kind.validate_python(found)


def _item(annotation: Any) -> Any:
    """``X`` of ``list[X] | None``."""
    if get_origin(annotation) is list:
        return get_args(annotation)[0]
    return next(_item(inner) for inner in get_args(annotation) if get_origin(inner) is list)
