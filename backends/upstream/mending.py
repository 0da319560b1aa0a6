"""What plain answers and chunks have in common, mended in place."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, TypeGuard

import orjson

from specserve.backends.upstream.logprobs import as_chat_logprobs, as_text_logprobs
from specserve.spec.errors import BadGateway, UpstreamBreach

if TYPE_CHECKING:
    from specserve.backends.upstream.exchange import Exchange

_FINISH_NAMES = {
    **dict.fromkeys(("complete", "end", "end_turn", "eos", "eos_token", "finished", "stop_sequence"), "stop"),
    **dict.fromkeys(("max_length", "max_new_tokens", "max_tokens", "model_length"), "length"),
    **dict.fromkeys(("tool_call", "tool_use"), "tool_calls"),
    **dict.fromkeys(("content-filter", "recitation", "safety", "sensitive"), "content_filter"),
}
_GAVE_UP = frozenset({"abort", "aborted", "cancelled", "error", "insufficient_system_resource"})
# Optional fields that may not be null in the contract, and those of them that are lists of which an empty one says no
# more than an absent one.
_OF_AN_ANSWER = ("system_fingerprint", "service_tier", "metadata")
_TIERS = ("auto", "default", "flex", "scale", "priority", "fast")
_OF_A_MESSAGE = ("function_call", "annotations")
_DETAILS = ("prompt_tokens_details", "completion_tokens_details")


class Mender:
    """Mends one answer, or the chunks of one.

    Attributes:
        exchange: What it answers.
        changed: Whether anything was, since this was last set to False: if not, the bytes can go out as they came.
    """

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.changed = False

    def did(self, kind: str) -> None:
        """Something was mended."""
        self.changed = True
        self.exchange.notes.add(kind)

    def head(self, answer: dict[str, Any], kind: str) -> None:
        """The fields around the choices, but for the id and the time."""
        if answer.get("object") != kind:
            answer["object"] = kind
            self.did("object")
        if answer.get("model") != self.exchange.model:
            # Not a fault: the upstream may know the model by another name. Clients go by the one that they asked for.
            answer["model"] = self.exchange.model
            self.changed = True
        for name in _OF_AN_ANSWER:
            if name in answer and answer[name] is None and name != "service_tier":
                self._drop(answer, name)
        if answer.get("service_tier") is not None and answer["service_tier"] not in _TIERS:
            self._drop(answer, "service_tier")

    def _drop(self, holder: dict[str, Any], name: str) -> None:
        del holder[name]
        self.did("null-for-absent")

    def usage(self, usage: dict[str, Any]) -> None:
        """Counts that add up."""
        for name in _DETAILS:
            if name in usage and usage[name] is None:
                self._drop(usage, name)
            for details in objects([usage.get(name)]):
                for key in [key for key, value in details.items() if value is None]:
                    self._drop(details, key)
        prompt, completion, total = (usage.get(f"{part}_tokens") for part in ("prompt", "completion", "total"))
        if not _count(completion) and _count(prompt) and _count(total):
            completion = max(0, total - prompt)
        if (
            _count(prompt)
            and _count(completion)
            and (usage.get("completion_tokens"), total)
            != (
                completion,
                prompt + completion,
            )
        ):
            usage["completion_tokens"] = completion
            usage["total_tokens"] = prompt + completion
            self.did("usage-counts")

    def finish_reason(self, choice: dict[str, Any]) -> str | None:
        """The finish reason of a choice in the contract's words."""
        if "finish_reason" not in choice or choice["finish_reason"] == "":
            choice["finish_reason"] = None
            self.did("finish-key")
        reason = choice["finish_reason"]
        if reason is None or not isinstance(reason, str):
            return None
        word = reason.lower()
        if word in _GAVE_UP:
            raise BadGateway("The server that runs this model gave up amid the answer.")
        word = _FINISH_NAMES.get(word, word)
        if word != reason:
            choice["finish_reason"] = word
            self.did("finish-name")
        return word

    def message(self, message: dict[str, Any]) -> None:
        """What a message and a delta have in common."""
        if "reasoning" in message and "reasoning_content" not in message:
            thoughts = message.pop("reasoning")
            if isinstance(thoughts, str):
                message["reasoning_content"] = thoughts
            self.did("reasoning")
        content = message.get("content")
        if isinstance(content, list):
            message["content"] = "".join(_text(part) for part in content)
            self.did("content")
        if "tool_calls" in message and not message["tool_calls"]:
            del message["tool_calls"]
            self.did("tool-calls-empty")
        for name in _OF_A_MESSAGE:
            if name in message and message[name] is None:
                self._drop(message, name)

    def logprobs(self, choice: dict[str, Any]) -> None:
        """The log-probabilities of a chat choice, complete."""
        logprobs = choice.get("logprobs")
        if not isinstance(logprobs, dict):
            return
        if "content" not in logprobs and isinstance(logprobs.get("tokens"), list):
            choice["logprobs"] = logprobs = as_chat_logprobs(logprobs)
            self.did("logprobs-form")
        for name in ("content", "refusal"):
            if name not in logprobs:
                logprobs[name] = None
                self.did("logprobs")
        for entry in objects(logprobs["content"]):
            if entry.get("top_logprobs") is None:
                entry["top_logprobs"] = []
                self.did("logprobs")
            for one in (entry, *objects(entry["top_logprobs"])):
                if "bytes" not in one and isinstance(one.get("token"), str):
                    one["bytes"] = list(one["token"].encode(errors="replace"))
                    self.did("logprobs")

    def text_logprobs(self, choice: dict[str, Any], offset: int) -> None:
        """The log-probabilities of a completion's choice, whose text begins at an offset, in characters."""
        if "logprobs" not in choice:
            choice["logprobs"] = None
            self.did("logprobs")
        logprobs = choice["logprobs"]
        if isinstance(logprobs, dict) and "tokens" not in logprobs and isinstance(logprobs.get("content"), list):
            choice["logprobs"] = as_text_logprobs(logprobs["content"], offset)
            self.did("logprobs-form")

    def arguments(self, function: dict[str, Any]) -> None:
        """The arguments of a call as JSON text."""
        if isinstance(function.get("arguments"), dict | list):
            function["arguments"] = orjson.dumps(function["arguments"]).decode()
            self.did("tool-call-arguments")


def usage_elsewhere(answer: dict[str, Any]) -> dict[str, Any] | None:
    """The usage of servers that tell it in a place of their own."""
    groq = answer.get("x_groq")
    if isinstance(groq, dict) and isinstance(groq.get("usage"), dict):
        usage: dict[str, Any] = groq["usage"]
        return usage
    timings = answer.get("timings")
    if isinstance(timings, dict):  # llama.cpp: prompt_n are those that the cache did not hold
        new, cached, generated = (timings.get(name) for name in ("prompt_n", "cache_n", "predicted_n"))
        if _count(new) and _count(generated):
            prompt = new + (cached if _count(cached) else 0)
            return {"prompt_tokens": prompt, "completion_tokens": generated, "total_tokens": prompt + generated}
    return None


def new_call_id() -> str:
    """An id for a call of a tool."""
    return f"call_{uuid.uuid4().hex[:24]}"


def objects(value: object) -> list[dict[str, Any]]:
    """The objects in what should be a list of them; what else is there is for the validator to find."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def as_object(value: object) -> dict[str, Any]:
    """Take what must be a JSON object.

    Raises:
        UpstreamBreach: It is something else.
    """
    if not isinstance(value, dict):
        raise UpstreamBreach("The server that runs this model sent no object where one must be.")
    return value


def _count(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _text(part: Any) -> str:
    text = part.get("text") if isinstance(part, dict) else part
    return text if isinstance(text, str) else ""
