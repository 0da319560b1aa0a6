"""What the types of the official Python client say about a document: a second opinion, made by others."""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError


@cache
def _adapters() -> dict[str, TypeAdapter[Any]]:
    from openai.types import Completion, CreateEmbeddingResponse, Model
    from openai.types.chat import ChatCompletion, ChatCompletionChunk

    class Models(BaseModel):
        """The client makes its list class while it runs."""

        model_config = ConfigDict(extra="allow")
        data: list[Model]
        object: str

    return {
        "CreateChatCompletionResponse": TypeAdapter(ChatCompletion),
        "CreateChatCompletionStreamResponse": TypeAdapter(ChatCompletionChunk),
        "CreateCompletionResponse": TypeAdapter(Completion),
        "CreateEmbeddingResponse": TypeAdapter(CreateEmbeddingResponse),
        "ListModelsResponse": TypeAdapter(Models),
        "Model": TypeAdapter(Model),
    }


# What the client's types say more narrowly than what the published spec says and OpenAI answers, each with the reason.
_NARROWER = {
    ("CreateCompletionResponse", "finish_reason"),  # null amid a stream, which the client's type forgets
    ("CreateCompletionResponse", "top_logprobs"),  # null for the first token of an echoed prompt
    ("CreateCompletionResponse", "token_logprobs"),
    ("CreateEmbeddingResponse", "embedding"),  # a string where base64 was asked for; the client decodes it first
}


def refused(of: str, instance: Any) -> dict[str, str]:
    """Places that the client's types refuse, as JSON pointers, with the reason. It never coerces."""
    adapter = _adapters().get(of)
    if adapter is None:
        return {}
    try:
        adapter.validate_python(instance, strict=True)
    except ValidationError as error:
        found: dict[str, str] = {}
        for entry in error.errors(include_url=False, include_context=False, include_input=False):
            steps = [str(step) for step in entry["loc"]]
            if any((of, step) in _NARROWER for step in steps):
                continue
            found.setdefault(_pointer(instance, entry["loc"]), entry["msg"])
        return found
    return {}


def _pointer(instance: Any, loc: tuple[int | str, ...]) -> str:
    """The place of an error; names of union branches, which pydantic puts between, lead nowhere and are left out."""
    place, here, last = "", instance, len(loc) - 1
    for position, step in enumerate(loc):
        if isinstance(here, dict):
            if step not in here and position != last:
                continue
            here = here.get(step)
        elif isinstance(here, list) and isinstance(step, int) and step < len(here):
            here = here[step]
        else:
            continue
        place += f"/{step}"
    return place
