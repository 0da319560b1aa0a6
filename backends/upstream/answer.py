"""A plain answer, mended: of chat, completions and embeddings."""

from __future__ import annotations

import base64
import binascii
import struct
from typing import TYPE_CHECKING, Any

from specserve.backends.base import EncodedAnswer
from specserve.backends.upstream.exchange import count, parse
from specserve.backends.upstream.mending import Mender, as_object, objects, usage_elsewhere
from specserve.backends.upstream.refusals import from_event, is_failure
from specserve.backends.upstream.tool_calls import mend_arguments, mend_calls
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
        message = _message(choice, mender)
        mender.message(message)
        for name, value in (("role", "assistant"), ("content", None), ("refusal", None)):
            if name not in message or (name == "role" and message[name] != value):
                message[name] = value
                mender.repaired(name)
        if isinstance(message.get("tool_calls"), list):
            mend_calls(message["tool_calls"], mender)
        if isinstance(message.get("function_call"), dict):
            mend_arguments(message["function_call"], mender)
        if "logprobs" not in choice:
            choice["logprobs"] = None
            mender.repaired("logprobs")
        mender.logprobs(choice)
        called = "tool_calls" in message
        reason = mender.finish_reason(choice, called=called)
        if reason is None and choice["finish_reason"] is None:
            choice["finish_reason"] = "tool_calls" if called and not exchange.named_tool else "stop"
            mender.repaired("finish-key")
        elif reason == "tool_calls" and not called and "function_call" not in message:
            choice["finish_reason"] = "stop"
            mender.repaired("finish-tool-calls")
    return _closed(data, answer, mender, "CreateChatCompletionResponse")


def completion(data: bytes, exchange: Exchange) -> EncodedAnswer:
    """Read the continuations of prompts; see `chat`."""
    mender = Mender(exchange)
    answer = _opened(data, mender, "text_completion")
    for choice in answer["choices"]:
        if choice.get("text") is None:
            message = choice.get("message")
            text = message.get("content") if isinstance(message, dict) else None
            choice["text"] = text if isinstance(text, str) else ""
            mender.repaired("content")
        mender.text_logprobs(choice, 0)
        if mender.finish_reason(choice) is None and choice["finish_reason"] is None:
            choice["finish_reason"] = "stop"
            mender.repaired("finish-key")
    return _closed(data, answer, mender, "CreateCompletionResponse")


def embedding(data: bytes, exchange: Exchange, *, encoding_format: str) -> EncodedAnswer:
    """Read vectors; see `chat`. `exchange.choices` is the number of inputs."""
    mender = Mender(exchange)
    answer = _object(data, exchange)
    mender.head(answer, "list")
    vectors = [as_object(vector) for vector in _listed(answer.get("data"))]
    if len(vectors) != exchange.choices:
        raise UpstreamBreach("The server that runs this model sent another number of vectors than there were inputs.")
    for at, vector in enumerate(vectors):
        if vector.get("object") != "embedding":
            vector["object"] = "embedding"
            mender.repaired("object")
        if type(vector.get("index")) is not int:
            vector["index"] = at
            mender.repaired("index")
        _convert(vector, encoding_format, mender)
    if [vector["index"] for vector in vectors] != list(range(len(vectors))):
        vectors.sort(key=lambda vector: int(vector["index"]))
        mender.repaired("embedding-order")
        if [vector["index"] for vector in vectors] != list(range(len(vectors))):
            raise UpstreamBreach("The server that runs this model sent vectors with wrong indexes.")
    answer["data"] = vectors
    tokens = _embedding_tokens(answer, mender)
    mender.check("CreateEmbeddingResponse", answer)
    return EncodedAnswer(mender.encoded(answer, data), {"prompt_tokens": tokens})


def _embedding_tokens(answer: dict[str, Any], mender: Mender) -> int:
    """The tokens of all inputs. The contract wants them, and some servers do not count them; then they are 0."""
    given = answer.get("usage")
    usage = given if isinstance(given, dict) else {}
    prompt, total = count(usage.get("prompt_tokens")), count(usage.get("total_tokens"))
    tokens = prompt if prompt is not None else total
    if tokens is None:
        tokens = 0
        answer["usage"] = usage
        mender.repaired("usage-empty")
    known = {"prompt_tokens": tokens, "total_tokens": tokens if total is None or total < tokens else total}
    if any(type(usage.get(name)) is not int or usage[name] != value for name, value in known.items()):
        usage.update(known)
        mender.repaired("usage-counts")
    return tokens


def _object(data: bytes, exchange: Exchange) -> dict[str, Any]:
    answer = parse(data)
    if is_failure(answer):
        raise from_event(answer, exchange)
    return as_object(answer)


def _opened(data: bytes, mender: Mender, kind: str) -> dict[str, Any]:
    """The answer with all but its choices mended."""
    exchange = mender.exchange
    answer = _object(data, exchange)
    answer_id, created = exchange.answer_id(answer.get("id")), exchange.created(answer.get("created"))
    if (answer.get("id"), answer.get("created")) != (answer_id, created) or isinstance(answer["created"], float):
        answer["id"], answer["created"] = answer_id, created
        mender.changed = True
    mender.head(answer, kind)
    if "usage" in answer and answer["usage"] is None:
        del answer["usage"]
        mender.repaired("null-for-absent")
    if "usage" in answer and mender.usage(answer["usage"]) is None:
        del answer["usage"]
    if "usage" not in answer and (usage := mender.usage(usage_elsewhere(answer))) is not None:
        answer["usage"] = usage
        mender.repaired("usage-elsewhere")
    choices = _listed(answer.get("choices"))
    if None in choices:
        choices = [choice for choice in choices if choice is not None]
        mender.repaired("choice-null")
    if len(choices) != exchange.choices:
        raise UpstreamBreach("The server that runs this model sent another number of answers than were asked for.")
    answer["choices"] = [as_object(choice) for choice in choices]
    for failed in (choice for choice in answer["choices"] if choice.get("error")):
        raise from_event({"error": failed["error"]}, exchange)
    indexes = [choice.get("index") for choice in answer["choices"]]
    if {index for index in indexes if type(index) is int} != set(range(len(indexes))):
        for at, choice in enumerate(answer["choices"]):
            choice["index"] = at
        mender.repaired("index")
    return answer


def _message(choice: dict[str, Any], mender: Mender) -> dict[str, Any]:
    message = choice.get("message")
    if isinstance(message, dict):
        return message
    text = choice.get("text")
    found = objects([choice.pop("delta", None)]) or ([{"content": text}] if isinstance(text, str) else [])
    if not found:
        raise UpstreamBreach("The server that runs this model sent an answer without a message.")
    choice["message"] = found[0]
    mender.repaired("message")
    return found[0]


def _closed(data: bytes, answer: dict[str, Any], mender: Mender, component: str) -> EncodedAnswer:
    mender.check(component, answer)
    return EncodedAnswer(mender.encoded(answer, data), answer.get("usage"))


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
            mender.repaired("embedding-format")
        elif encoding_format == "float" and isinstance(value, str):
            raw = base64.b64decode(value, validate=True)
            vector["embedding"] = list(struct.unpack(f"<{len(raw) // 4}f", raw))
            mender.repaired("embedding-format")
    except (struct.error, binascii.Error, OverflowError):
        raise UpstreamBreach("The server that runs this model sent a vector that cannot be read.") from None
