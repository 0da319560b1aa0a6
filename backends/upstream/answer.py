"""A plain answer, mended: of chat, completions and embeddings."""

from __future__ import annotations

import base64
import binascii
import struct
from typing import TYPE_CHECKING, Any

import orjson

from specserve.backends.base import EncodedAnswer
from specserve.backends.upstream.exchange import check, parse
from specserve.backends.upstream.mending import Mender, as_object, usage_elsewhere
from specserve.backends.upstream.refusals import from_event
from specserve.backends.upstream.tool_calls import mend_calls
from specserve.spec.errors import UpstreamBreach

if TYPE_CHECKING:
    from specserve.backends.upstream.exchange import Exchange


def chat(data: bytes, exchange: Exchange) -> EncodedAnswer:
    """Read the answer to a conversation.

    Raises:
        APIError: It tells of a failure, or it cannot be mended.
    """
    mender = Mender(exchange)
    answer = _opened(data, mender, "chat.completion")
    for choice in answer["choices"]:
        message = choice.get("message")
        if not isinstance(message, dict):
            raise UpstreamBreach("The server that runs this model sent an answer without a message.")
        mender.message(message)
        for name, value in (("role", "assistant"), ("content", None), ("refusal", None)):
            if name not in message or (name == "role" and message[name] != value):
                message[name] = value
                mender.did(name)
        if isinstance(message.get("tool_calls"), list):
            mend_calls(message["tool_calls"], mender)
        if "logprobs" not in choice:
            choice["logprobs"] = None
            mender.did("logprobs")
        mender.logprobs(choice)
        called = "tool_calls" in message or "function_call" in message
        if mender.finish_reason(choice) == "tool_calls" and not called:
            choice["finish_reason"] = "stop"
            mender.did("finish-tool-calls")
    return _closed(data, answer, mender, "CreateChatCompletionResponse")


def completion(data: bytes, exchange: Exchange) -> EncodedAnswer:
    """Read the continuations of prompts; see `chat`."""
    mender = Mender(exchange)
    answer = _opened(data, mender, "text_completion")
    for choice in answer["choices"]:
        mender.text_logprobs(choice, 0)
        if mender.finish_reason(choice) is None:
            raise UpstreamBreach("The server that runs this model sent an answer that does not say why it ended.")
    return _closed(data, answer, mender, "CreateCompletionResponse")


def embedding(data: bytes, exchange: Exchange, *, encoding_format: str) -> EncodedAnswer:
    """Read vectors; see `chat`. `exchange.choices` is the number of inputs."""
    mender = Mender(exchange)
    answer = as_object(parse(data))
    if "error" in answer:
        raise from_event(answer, exchange)
    mender.head(answer, "list")
    vectors = [as_object(vector) for vector in _listed(answer.get("data"))]
    if len(vectors) != exchange.choices:
        raise UpstreamBreach("The server that runs this model sent another number of vectors than there were inputs.")
    for at, vector in enumerate(vectors):
        if vector.get("object") != "embedding":
            vector["object"] = "embedding"
            mender.did("object")
        if not isinstance(vector.get("index"), int):
            vector["index"] = at
            mender.did("index")
        _convert(vector, encoding_format, mender)
    if [vector["index"] for vector in vectors] != list(range(len(vectors))):
        vectors.sort(key=lambda vector: int(vector["index"]))
        mender.did("embedding-order")
        if [vector["index"] for vector in vectors] != list(range(len(vectors))):
            raise UpstreamBreach("The server that runs this model sent vectors with wrong indexes.")
    answer["data"] = vectors
    usage = answer.get("usage")
    if isinstance(usage, dict) and isinstance(usage.get("prompt_tokens"), int) and "total_tokens" not in usage:
        usage["total_tokens"] = usage["prompt_tokens"]
        mender.did("usage-counts")
    check("CreateEmbeddingResponse", answer)
    tokens = {"prompt_tokens": answer["usage"]["prompt_tokens"]}
    return EncodedAnswer(orjson.dumps(answer) if mender.changed else data, tokens)


def _opened(data: bytes, mender: Mender, kind: str) -> dict[str, Any]:
    """The answer with all but its choices mended."""
    exchange = mender.exchange
    answer = as_object(parse(data))
    if "error" in answer and not answer.get("choices"):
        raise from_event(answer, exchange)
    answer_id, created = exchange.answer_id(answer.get("id")), exchange.created(answer.get("created"))
    if (answer.get("id"), answer.get("created")) != (answer_id, created) or isinstance(answer["created"], float):
        answer["id"], answer["created"] = answer_id, created
        mender.changed = True
    mender.head(answer, kind)
    if answer.get("usage") is None:
        if "usage" in answer:
            del answer["usage"]
            mender.did("null-for-absent")
        if (usage := usage_elsewhere(answer)) is not None:
            answer["usage"] = usage
            mender.did("usage-elsewhere")
    if "usage" in answer:
        mender.usage(as_object(answer["usage"]))
    answer["choices"] = [as_object(choice) for choice in _listed(answer.get("choices"))]
    indexes = [choice.get("index") for choice in answer["choices"]]
    if {index for index in indexes if type(index) is int} != set(range(len(indexes))):
        for at, choice in enumerate(answer["choices"]):
            choice["index"] = at
        mender.did("index")
    return answer


def _closed(data: bytes, answer: dict[str, Any], mender: Mender, component: str) -> EncodedAnswer:
    if len(answer["choices"]) != mender.exchange.choices:
        raise UpstreamBreach("The server that runs this model sent another number of answers than were asked for.")
    check(component, answer)
    return EncodedAnswer(orjson.dumps(answer) if mender.changed else data, answer.get("usage"))


def _listed(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise UpstreamBreach("The server that runs this model sent what breaks the contract: no list of answers.")
    return value


def _convert(vector: dict[str, Any], encoding_format: str, mender: Mender) -> None:
    """Little-endian 32-bit floats as base64, or numbers: what was asked for."""
    value = vector.get("embedding")
    try:
        if encoding_format == "base64" and isinstance(value, list):
            vector["embedding"] = base64.b64encode(struct.pack(f"<{len(value)}f", *value)).decode()
            mender.did("embedding-format")
        elif encoding_format == "float" and isinstance(value, str):
            raw = base64.b64decode(value, validate=True)
            vector["embedding"] = list(struct.unpack(f"<{len(raw) // 4}f", raw))
            mender.did("embedding-format")
    except (struct.error, binascii.Error, OverflowError):
        raise UpstreamBreach("The server that runs this model sent a vector that cannot be read.") from None
