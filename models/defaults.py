"""What a model's requests have unless they say otherwise, as the operator set it: `defaults` of a model."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from specserve.generated.models import CreateChatCompletionRequest, CreateCompletionRequest
from specserve.spec.errors import BackendLoadError, UnsupportedValue

if TYPE_CHECKING:
    from collections.abc import Mapping

    from specserve.backends.base import Capabilities

Body = TypeVar("Body", bound=BaseModel)

_TEXT: dict[str, tuple[type[BaseModel], dict[str, Any]]] = {
    "createChatCompletion": (CreateChatCompletionRequest, {"messages": [{"role": "user", "content": "x"}]}),
    "createCompletion": (CreateCompletionRequest, {"prompt": "x"}),
}
"""The operations that generate text: what their requests are, and the least that one needs beside `model`."""

# How to choose tokens, and how many. What says what to answer, or in which form, is the client's to say.
_NAMES = frozenset(
    {
        "frequency_penalty",
        "max_completion_tokens",
        "max_tokens",
        "min_p",
        "presence_penalty",
        "reasoning_effort",
        "repetition_penalty",
        "seed",
        "stop",
        "temperature",
        "top_k",
        "top_p",
    }
)
_LIMIT_NAMES = ("max_completion_tokens", "max_tokens")  # two names of one thing
_COMPLETION_TOKENS = 16  # what the published API gives a completion whose request does not say


class Defaults:
    """The defaults of one model, checked against the contract."""

    def __init__(self, values: Mapping[str, Any], most_tokens: int | None = None) -> None:
        """Check that each is a parameter of the contract with a value that it may have.

        Args:
            values: Parameter -> value.
            most_tokens: The model's `max_output_tokens`.

        Raises:
            BackendLoadError: One is not; its key tells which.
        """
        self._names = frozenset(values)
        self._most_tokens = most_tokens
        for name in values:
            if name not in _NAMES:
                known = ", ".join(sorted(_NAMES))
                raise BackendLoadError(f"{name!r} cannot have a default; known are {known}", key=("defaults", name))
        self._values: dict[str, dict[str, tuple[Any, Any]]] = {}  # as in JSON, and as in the generated model
        for operation, (kind, least) in _TEXT.items():
            own = {name: value for name, value in values.items() if name in kind.model_fields}
            body = json.dumps({"model": "x", **least, **own})
            try:
                request = kind.model_validate_json(body, strict=True)
            except ValidationError as error:
                problem = error.errors(include_url=False, include_input=False)[0]
                name = str(problem["loc"][0])
                raise BackendLoadError(f"default {name!r}: {problem['msg']}", key=("defaults", name)) from None
            over = [name for name in _LIMIT_NAMES if most_tokens is not None and own.get(name, 0) > most_tokens]
            if over:
                message = f"default {over[0]!r} is over the model's limit of {most_tokens} tokens"
                raise BackendLoadError(message, key=("defaults", over[0]))
            # Not by attribute: reading a parameter that the published API calls deprecated would warn.
            self._values[operation] = {name: (value, vars(request)[name]) for name, value in own.items()}

    def check(self, capabilities: Capabilities) -> None:
        """Check that each has an effect on what a loaded model does.

        Raises:
            BackendLoadError: One has none; its key tells which.
        """
        effective = {
            name for operation, names in capabilities.operations.items() for name in names if operation in _TEXT
        }
        for name in sorted(self._names - effective):
            raise BackendLoadError(f"a default of {name!r} would have no effect on this model", key=("defaults", name))
        if self._most_tokens is not None and not effective.intersection(_LIMIT_NAMES):
            message = "its backend cannot keep a limit of 'max_output_tokens'"
            raise BackendLoadError(message, key=("limits", "max_output_tokens"))

    def apply(self, operation: str, body: Body, raw: dict[str, Any], supported: frozenset[str]) -> Body:
        """Fill in what a request does not say.

        Args:
            operation: The operationId.
            body: The request. A parameter that is null is one that it does not say.
            raw: The same as it came, in JSON; it is filled in in place.
            supported: The parameters that have an effect there.

        Raises:
            UnsupportedValue: The request asks for more tokens than the model gives.
        """
        if operation not in _TEXT or (not self._values[operation] and self._most_tokens is None):
            return body
        said = {name for name, value in raw.items() if value is not None}
        if said.intersection(_LIMIT_NAMES):
            said.update(_LIMIT_NAMES)
        values = {
            name: value for name, value in self._values[operation].items() if name not in said and name in supported
        }
        if self._most_tokens is not None:
            for name in _LIMIT_NAMES:
                if (raw.get(name) or 0) > self._most_tokens:
                    raise UnsupportedValue(f"This model answers with {self._most_tokens} tokens at most.", param=name)
            if not said.intersection(_LIMIT_NAMES) and not values.keys() & set(_LIMIT_NAMES):
                name = next((name for name in _LIMIT_NAMES if name in supported), _LIMIT_NAMES[1])
                usual = _COMPLETION_TOKENS if operation == "createCompletion" else self._most_tokens
                values[name] = (min(usual, self._most_tokens),) * 2
        if not values:
            return body
        raw.update({name: value for name, (value, _) in values.items()})
        return body.model_copy(update={name: value for name, (_, value) in values.items()})
