"""A plain answer as the chunks that should have been sent: for upstreams that do not stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterator


def as_chunks(data: bytes) -> Iterator[bytes]:
    """The chunks of a plain answer that keeps the contract, the usage last."""
    answer = orjson.loads(data)
    chat = answer["object"] == "chat.completion"
    head = {**answer, "object": "chat.completion.chunk" if chat else answer["object"]}
    usage = head.pop("usage", None)
    for choice in answer["choices"]:
        for part in _parts(choice) if chat else (choice,):
            yield orjson.dumps({**head, "choices": [part]})
    if usage is not None:
        yield orjson.dumps({**head, "choices": [], "usage": usage})


def _parts(choice: dict[str, Any]) -> Iterator[dict[str, Any]]:
    message = choice["message"]
    names = ("role", "content", "refusal", "function_call", "reasoning_content")
    delta = {name: message[name] for name in names if name in message}
    if "tool_calls" in message:
        delta["tool_calls"] = [{**call, "index": at} for at, call in enumerate(message["tool_calls"])]
    index = choice["index"]
    yield {"index": index, "delta": delta, "logprobs": choice["logprobs"], "finish_reason": None}
    yield {"index": index, "delta": {}, "logprobs": None, "finish_reason": choice["finish_reason"]}
